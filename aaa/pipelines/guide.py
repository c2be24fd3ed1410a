"""The weaker model that a guidance steers away from, loaded beside the one that draws."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from aaa.assembly.build import build
from aaa.assembly.parts import build_model
from aaa.config.leaves import leaves
from aaa.config.overrides import NAMED, PATH, without_interpolations
from aaa.config.upgrade import upgrade
from aaa.diffusion.autoguidance import GuidedByModel
from aaa.diffusion.guidance import Guidance, VelocityModel
from aaa.diffusion.schedulers import timestep_dtype
from aaa.errors import UserError
from aaa.saved.checkpoint import load_weights
from aaa.saved.models import SavedModel, find_saved
from aaa.saved.weights_file import require_numbers
from aaa.training.precision import ModelPrecision

LOOKS, LOOKED_AT = 16, 2**16  # places in a file of weights, and bytes at each


def load_guide(
    guidance: Guidance, encoder: Mapping[str, Any], precision: ModelPrecision, *, trust_config: bool
) -> None:
    """Give a guidance the model that it is guided by, where it is of that kind and has none yet.

    Args:
        guidance: of any kind.
        encoder: resolved config of the encoder of the model that draws: the other's latents and prompts must be these.
        precision: to run it in, as the one that draws.
        trust_config: let the config of the other name any class, not only aaa's own.

    Raises:
        UserError: if there is no such model, it does not fit, or its config names classes that are not aaa's.
    """
    if not isinstance(guidance, GuidedByModel) or guidance.guide is not None:
        return
    try:
        saved = find_saved(Path(guidance.path), guidance.weights, trust_config)
        require_numbers(saved.weights, saved.config["model"])
        own = upgrade(OmegaConf.create(without_interpolations(saved.config)))
        network = build_model(own)
        load_weights(saved.weights, network)
    except UserError as error:
        told = str(error)
        named = told.startswith(("model=", "weights="))
        raise UserError(f"guidance.{told}" if named else f"guidance.model={guidance.path}: {told}") from None
    require_same_encoder(saved, encoder)
    network.to(precision.device, precision.dtype).eval().requires_grad_(False)
    prediction, rounded = build(own, "objective.prediction"), timestep_dtype(build(own, "scheduler"))
    guidance.guide = VelocityModel(precision.running(network), prediction, timestep_dtype=rounded)


def require_same_encoder(saved: SavedModel, encoder: Mapping[str, Any]) -> None:
    """Refuse a model that cannot be asked about these latents and prompts.

    Raises:
        UserError: naming what is not the same.
    """
    here, there = _what_it_gives(encoder), _what_it_gives(saved.config["encoder"])
    # A key that only one of them has came with a later version, unless it is what latents are normalised by.
    statistics = {key for key in here.keys() | there.keys() if key.startswith("vae.latent_")}
    for key in sorted((here.keys() & there.keys()) | statistics):
        if here.get(key) != there.get(key):
            told = f" is {there.get(key)}, and here {here.get(key)}" if len(str(here.get(key))) < 100 else " is another"
            raise UserError(
                f"guidance.model={saved.weights}: a model of other latents or prompts cannot guide this one: its "
                f"encoder.{key}{told}."
            )
    ours, theirs = (_folders(of) for of in (encoder, saved.config["encoder"]))
    for key in sorted(ours.keys() & theirs.keys()):
        if _holds_other_weights(ours[key], theirs[key]):
            raise UserError(
                f"guidance.model={saved.weights}: a model of other latents or prompts cannot guide this one: the "
                f"weights at its encoder.{key}={theirs[key]} are not those at {ours[key]}."
            )


def _what_it_gives(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Of an encoder's config, by dotted key, what its latents and embeddings depend on; where files lie does not."""
    others = ("name", "batch_size", "storage_dtype", "prompt_tokens")
    return {key: value for key, value in leaves(encoder) if key not in others and not _is_path(key.rpartition(".")[2])}


def _folders(encoder: Mapping[str, Any]) -> dict[str, Path]:
    """Where the files of its parts lie, by dotted key."""
    return {
        f"{name}.{key}": Path(value)
        for name in ("vae", "text_encoder")
        for key, value in encoder[name].items()
        if isinstance(value, str) and _is_path(key)
    }


def _holds_other_weights(here: Path, there: Path) -> bool:
    """Whether two folders have not the same weights; False where one of them has none to be looked at."""
    ours, theirs = (sorted(map(_looked_into, folder.glob("*.safetensors"))) for folder in (here, there))
    return bool(ours and theirs and here.resolve() != there.resolve() and ours != theirs)


def _looked_into(file: Path) -> tuple[int, list[bytes]]:
    """The size of a file, and what is at some places in it: trained otherwise, all weights are others."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        blocks = []
        for place in range(LOOKS):
            opened.seek(place * size // LOOKS)
            blocks.append(opened.read(LOOKED_AT))
    return size, blocks


def _is_path(key: str) -> bool:
    return re.search(NAMED[PATH], key) is not None
