"""Weights that a run starts from instead of random ones: `init_from`."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor, nn

from aaa.config.commands import setting
from aaa.config.groups import CONF, options_of
from aaa.errors import UserError
from aaa.models.dit import AAADiT
from aaa.saved.checkpoint import misfits
from aaa.saved.models import find_saved
from aaa.saved.weights_file import other_heads, other_numbers, read_dit_tensors, read_routing

logger = logging.getLogger(__name__)

SIZES = {"dim", "depth", "heads", "mlp_ratio", "position_grid"}
OF_ENCODER = ("in_channels", "text_dim")  # numbers of a model that follow from it
OF_LOADED_VAE = ("path", "model_id", "subfolder", "patch_size")  # what latents follow from with encoder=diffusers
WHAT_FITS = "To start this one from what fits of it: init_from_parts=fitting"


def start_from(path: Path, model: nn.Module, numbers: Mapping[str, Any], encoder: Mapping[str, Any]) -> Path:
    """Load the weights that `init_from` names, all of them.

    Args:
        path: a .safetensors file, a run, a checkpoint or a model/ folder.
        model: takes the weights.
        numbers: of the configured model.
        encoder: of the config.

    Returns:
        The file that they were in.

    Raises:
        UserError: if they are those of another model, naming what would make that one.
    """
    file = _file_of(path)
    if other := other_numbers(file, numbers) | other_heads(file, numbers):
        kind = "a model of another size" if other.keys() <= SIZES else "another model"
        asked = [_asked_for(key, value) for key, value in other.items() if key not in OF_ENCODER]
        fitting = " ".join([*_encoder_asked_for(path, other, encoder), *asked])
        instead = "" if "dim" in other else f". {WHAT_FITS}"
        raise UserError(f"init_from={path}: holds {kind}. To train that one: {fitting}{instead}")
    if isinstance(model, AAADiT):
        _require_same_fusion(path, read_routing(file) is not None, model.fusion is not None)
    tensors, own = read_dit_tensors(file), model.state_dict()
    if wrong := misfits(tensors, own):
        raise UserError(f"init_from={path}: its weights do not fit the configured model:\n  {wrong}\n{WHAT_FITS}")
    model.load_state_dict(tensors)
    logger.info("Starting from the weights in %s", file)
    return file


def start_from_what_fits(path: Path, model: nn.Module, numbers: Mapping[str, Any]) -> Path:
    """Load of the weights that `init_from` names those that the model has too, by name and shape.

    What else the model has stays as it is; what else the file has is left.

    Args:
        path: a .safetensors file, a run, a checkpoint or a model/ folder.
        model: takes the weights.
        numbers: of the configured model.

    Returns:
        The file that they were in.

    Raises:
        UserError: if the two are not equally wide, or have no matrix in common.
    """
    file = _file_of(path)
    tensors, own = read_dit_tensors(file), model.state_dict()
    _require_same_width(path, tensors, own)
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    if not any(tensor.ndim > 1 for tensor in fitting.values()):
        raise UserError(
            f"init_from={path}: nothing of it fits the configured model: no matrix has the same name and shape in both."
        )
    model.load_state_dict(own | fitting)
    logger.info("Starting from the weights in %s: %s", file, _told(tensors, own, fitting.keys()))
    if heads := other_heads(file, numbers):
        logger.warning(
            "The attention of these weights was trained with model.heads=%d; with model.heads=%d it divides its width "
            "into others, and has to learn anew.",
            heads["heads"],
            numbers["heads"],
        )
    return file


def _file_of(path: Path) -> Path:
    """The file that holds the weights of a run, a checkpoint or a model/ folder."""
    # Nothing that its config names is run for its weights.
    try:
        return path if path.is_file() else find_saved(path, weights="ema", trust_config=True).weights
    except UserError as error:
        raise UserError(str(error).replace("model=", "init_from=", 1)) from None


def _asked_for(number: str, value: Any) -> str:
    """How a model with this number is asked for."""
    if number == "internal_head":  # it follows from the term that trains it
        term = "objective.terms.internal"
        return f"{term}.weight=0" if value is None else f"{term}.weight=0.25 {term}.after_block={value}"
    return setting(f"model.{number}", str(value).lower() if isinstance(value, bool) else value)


def _encoder_asked_for(path: Path, other: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """How the encoder of a model is asked for, whose latents or prompt_embeds are not of as many channels as ours.

    Args:
        path: of the model.
        other: the numbers in which it differs.
        here: the encoder of the config.
    """
    there, asked = _encoder_of(path), []
    if "in_channels" in other:
        name, factor = there.get("name", here["name"]), there.get("downscale_factor", here["downscale_factor"])
        vae, is_other = there.get("vae", {}), name != here["name"]
        if is_other:
            asked.append(f"encoder={name}")
        if "patch_size" in vae:
            now = {} if is_other else here["vae"]
            asked += [setting(f"encoder.vae.{k}", vae.get(k)) for k in OF_LOADED_VAE if vae.get(k) != now.get(k)]
        elif not is_other and factor != here["downscale_factor"]:
            asked.append(setting("encoder.downscale_factor", factor))
        elif not is_other:
            asked.append(setting("encoder.latent_channels", other["in_channels"]))
    if "text_dim" in other:
        option = _option_of(there.get("text_encoder"))
        other_option = option not in (None, _option_of(here["text_encoder"]))
        asked.append(f"text_encoder={option}" if other_option else setting("encoder.prompt_dim", other["text_dim"]))
    return asked


def _encoder_of(path: Path) -> Mapping[str, Any]:
    """The encoder that a model was trained with; nothing of a file that nothing is known of."""
    try:
        encoder: Mapping[str, Any] = find_saved(path, weights="ema", trust_config=True).config["encoder"]
    except UserError:  # weights without a config are weights all the same
        return {}
    return encoder


def _option_of(text_encoder: Any) -> str | None:
    """Which of our options makes this text encoder, if one does."""
    target = text_encoder.get("_target_") if isinstance(text_encoder, Mapping) else None
    for name in options_of("text_encoder"):
        option = OmegaConf.load(CONF / "text_encoder" / f"{name}.yaml")
        if OmegaConf.select(option, "text_encoder._target_") == target:
            return name
    return None


def _require_same_fusion(path: Path, there: bool, here: bool) -> None:
    """Refuse weights with a fusion that the model has no place for, or without one that it needs."""
    if there and not here:
        raise UserError(
            f"init_from={path}: the fusion of routing=sprint is part of this model. To train it: routing=sprint. "
            f"{WHAT_FITS}"
        )
    if here and not there:
        raise UserError(
            f"init_from={path}: this model has no fusion, which routing=sprint needs. There is routing=tread. "
            f"{WHAT_FITS}"
        )


def _require_same_width(path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse a DiT of another width: the little that fits, such as the bias of its output, is no start."""
    there, here = (
        weight.shape[-1] if (weight := of.get("proj_out.weight")) is not None and weight.ndim == 2 else None
        for of in (tensors, own)
    )
    if None not in (there, here) and there != here:
        raise UserError(
            f"init_from={path}: its model is {there} wide and this one {here}, so that nothing that it has learned has "
            f"a place here. To train one of its width: model.dim={there}"
        )


def _told(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], loaded: Iterable[str]) -> str:
    """`loaded 112 of 130 tensors (86.0% of the weights); new: blocks.4, blocks.5 (18); left: text_refiner (36)`."""
    names = set(loaded)
    share = sum(own[name].numel() for name in names) / sum(tensor.numel() for tensor in own.values())
    said = [f"loaded {len(names)} of {len(own)} tensors ({100 * share:.3g}% of the weights)"]
    for told, whole in (("new, as the model itself starts", own), ("left, as it has no place", tensors)):
        if others := [name for name in whole if name not in names]:
            said.append(f"{told}: {', '.join(_parts_of(others, whole))} ({len(others)})")
    return "; ".join(said)


def _parts_of(names: Iterable[str], whole: Iterable[str]) -> list[str]:
    """The largest parts of a model that all these tensors are, those that many blocks have named once."""
    among = set(names)
    apart = {prefix for name in whole if name not in among for prefix in _prefixes(name)}
    found = (next((prefix for prefix in _prefixes(name) if prefix not in apart), name) for name in names)
    return list(dict.fromkeys(re.sub(r"\bblocks\.\d+\.", "blocks.*.", part) for part in found))


def _prefixes(name: str) -> list[str]:
    """What a tensor is part of, the largest first, and itself."""
    words = name.split(".")
    return [".".join(words[:length]) for length in range(1, len(words) + 1)]
