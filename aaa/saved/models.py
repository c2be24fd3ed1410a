"""Trained models on disk: what a run folder, a checkpoint or a model/ folder holds."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError

from aaa.config.as_dict import as_dict
from aaa.config.groups import CONF
from aaa.config.schema import SamplingConfig
from aaa.config.trust import is_own_class, read_json_config, read_yaml_config, targets
from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, STATE, checkpoints, damage, first_whole, newest_whole, step_of
from aaa.saved.named_model import CONFIG, EXPORTED, RUN_CONFIG, is_exported, offered_below, require_there
from aaa.saved.weights_file import DiTNumbers, metadata_of, read_dit_numbers, read_routing

logger = logging.getLogger(__name__)

DRAWN_WITH = (MODEL, AVERAGE)  # of a checkpoint
NEEDED = ("model", "encoder", "scheduler", "sampling", "data")  # of a run's config, by all who sample
KEPT = (*NEEDED, "objective", "sampler", "guidance", "routing", "trainer")  # the rest is implied where it is not said
PARTS = {"data": ("name", "resolution", "buckets"), "trainer": ("precision",)}  # of these no more is kept
OF_GRIDS = "prompts"  # of sampling, which the run's own pictures alone are drawn for


@dataclass(frozen=True)
class SavedModel:
    """A trained model's files.

    Attributes:
        weights: a safetensors file.
        config: the parts of the run's config that say how to build, encode for and sample the model.
    """

    weights: Path
    config: dict[str, Any]


def sampling_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a run's resolved config that go with its weights."""
    kept = {key: config[key] for key in KEPT if key in config}
    for name, parts in PARTS.items():
        if isinstance(whole := kept.get(name), dict):
            kept[name] = {key: value for key, value in whole.items() if key in parts}
    if isinstance(sampling := kept.get("sampling"), dict):
        kept["sampling"] = {key: value for key, value in sampling.items() if key != OF_GRIDS}
    return kept


def find_saved(path: Path, weights: str, trust_config: bool, heads: int | None = None) -> SavedModel:
    """Find the weights and the config of a trained model.

    Args:
        path: a run folder (its finished model, unless it has been trained further since; else its newest checkpoint),
            a checkpoint, a model/ folder, a file of weights in one of these, or a file of weights alone such as
            DiffSynth's tutorial saves.
        weights: `ema` or `raw`, for checkpoints that have both; a file is what it is.
        trust_config: let the config name any class, not only aaa's own.
        heads: attention heads, for a file that does not say how many it has.

    Raises:
        UserError: if there is no model there, or its config names classes that are not aaa's.
    """
    if weights not in ("ema", "raw"):
        raise UserError(f"weights={weights}: must be ema or raw.")
    require_there(path)
    if path.suffix == ".safetensors" and path.is_file():
        saved = _from_file(path, heads)
    elif not path.is_dir():
        raise UserError(
            f"model={path}: not a folder, nor a .safetensors file. Give a run folder, one of its checkpoints or its "
            "model/ folder. (Pickled weights, .pth or .ckpt, can run code when they are loaded and are not read.)"
        )
    elif (path / CONFIG).is_file():
        saved = SavedModel(path / MODEL, read_json_config(path / CONFIG))
    elif (path / STATE).is_file():
        if (problem := damage(path, DRAWN_WITH)) is not None:
            raise UserError(f"model={path}: the checkpoint is damaged: {problem}.")
        saved = _from_checkpoint(path, weights)
    elif (path / RUN_CONFIG).is_file():
        finished = path / EXPORTED
        if weights == "ema" and (later := later_checkpoint(path)) is not None:
            logger.info("%s was trained further since its model was exported. Taken is that of %s.", path, later.name)
            saved = _from_checkpoint(later, weights)
        elif is_exported(path) and weights == "ema":
            saved = SavedModel(finished / MODEL, read_json_config(finished / CONFIG))
        elif (checkpoint := newest_whole(path, DRAWN_WITH)) is not None:
            saved = _from_checkpoint(checkpoint, weights)
        else:
            raise UserError(f"model={path}: this run has not saved a checkpoint yet.")
    else:
        raise UserError(
            f"model={path}: no model there. Give a run folder (with config.yaml), one of its checkpoints "
            f"(with state.json) or a model/ folder (with config.json).{offered_below(path)}"
        )
    missing = [key for key in NEEDED if not isinstance(saved.config.get(key), dict)]
    if missing:
        raise UserError(f"model={path}: its config has no {', '.join(missing)}.")
    if heads is not None and (said := saved.config["model"].get("heads", heads)) != heads:
        raise UserError(f"heads={heads}: the model's config says {said}. Leave heads out.")
    if not trust_config:
        _refuse_foreign_code(saved.config, path)
    return saved


def exported_step(run: Path) -> int | None:
    """How many steps the exported model was trained for, or None if none was exported."""
    weights = run / EXPORTED / MODEL
    if not weights.is_file() or not is_exported(run):
        return None
    try:
        return int(metadata_of(weights)["step"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def later_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint of a run that was trained further since it exported its model; None of any other."""
    exported = exported_step(run)
    if exported is None:
        return None
    return first_whole([path for path in checkpoints(run) if step_of(path) > exported], DRAWN_WITH)


def foreign_to_sampling(config: Mapping[str, Any]) -> list[str]:
    """What the config of a run or model wants to run for sampling that is not part of aaa."""
    return [target for target in targets(sampling_config(config)) if not is_own_class(target)]


def saved_statistics(path: Path) -> LatentStatistics | None:
    """What the model of a run, a checkpoint, a model/ folder or a file in them had its latents normalised by, if any.

    Raises:
        UserError: if there is no model there.
    """
    if (path / RUN_CONFIG).is_file():
        config: dict[str, Any] = _read_run_config(path / RUN_CONFIG)
    elif path.is_file():
        config = _config_beside(path) or {}
    else:
        config = find_saved(path, weights="ema", trust_config=True).config
    try:
        vae = config.get("encoder", {}).get("vae", {})
        if "latent_mean" not in vae:
            return None
        return LatentStatistics(tuple(map(float, vae["latent_mean"])), tuple(map(float, vae["latent_std"])))
    except (AttributeError, TypeError, ValueError, KeyError):
        raise UserError(
            f"{path}: its config's encoder.vae has no latent_mean and latent_std, one number each a channel."
        ) from None


def tutorial_config(numbers: DiTNumbers) -> dict[str, Any]:
    """What goes with weights that come without a config: the tutorial's encoders, noise scheduler and size.

    Args:
        numbers: of the DiT.
    """
    vae, text_encoder, scheduler = (
        OmegaConf.load(CONF / f"{name}.yaml")
        for name in ("encoder/flux2_qwen3", "text_encoder/qwen3", "scheduler/flux2")
    )
    encoder = OmegaConf.merge(vae, text_encoder)
    config = OmegaConf.create({"encoder": encoder, "scheduler": scheduler, "sampling": SamplingConfig()})
    config.encoder.pop("defaults")
    config.scheduler.timestep_dtype = "bfloat16"
    return as_dict(config) | {"model": asdict(numbers), "data": {"name": "pokemon", "resolution": 256}}


def _from_file(file: Path, heads: int | None) -> SavedModel:
    """A file of weights with the config of the folder that it lies in; one that lies alone is the tutorial's."""
    if (config := _config_beside(file)) is not None:
        return SavedModel(file, config)
    widths = read_dit_numbers(file, heads or 1)  # how many heads there are is not what matters first
    tutorial = tutorial_config(widths)
    encoded = {"in_channels": tutorial["encoder"]["latent_channels"], "text_dim": tutorial["encoder"]["prompt_dim"]}
    other = {key: value for key, value in asdict(widths).items() if encoded.get(key, value) != value}
    if other:
        told = ", ".join(f"{key} is {value}, the tutorial's {encoded[key]}" for key, value in other.items())
        raise UserError(
            f"model={file}: no {CONFIG} lies beside it that says which encoders it was trained with, and they are not "
            f"the tutorial's: {told}. Give its run folder, its checkpoint or its model/ folder, or the file in there."
        )
    logger.info("No %s lies beside %s: its encoders are taken to be those of the tutorial.", CONFIG, file)
    routing = read_routing(file)
    routed = {} if routing is None else {"routing": routing}
    return SavedModel(file, tutorial | {"model": asdict(read_dit_numbers(file, heads))} | routed)


def _config_beside(file: Path) -> dict[str, Any] | None:
    """The config that goes with a file of weights: of the model/ folder or the checkpoint that it is part of."""
    for place in dict.fromkeys((file, file.resolve())):  # a link is looked at from both its ends
        folder = place.parent
        if (folder / STATE).is_file() and place.name in DRAWN_WITH:
            if (problem := damage(folder, [place.name])) is not None:
                raise UserError(f"model={file}: the checkpoint is damaged: {problem}.")
            return _config_of_checkpoint(folder)
        # Folders of others have a config.json too.
        if (folder / CONFIG).is_file() and "encoder" in (config := read_json_config(folder / CONFIG)):
            return config
    return None


def _from_checkpoint(checkpoint: Path, weights: str) -> SavedModel:
    ema = checkpoint / AVERAGE
    chosen = ema if weights == "ema" and ema.is_file() else checkpoint / MODEL
    return SavedModel(chosen, _config_of_checkpoint(checkpoint))


def _config_of_checkpoint(checkpoint: Path) -> dict[str, Any]:
    places = (checkpoint.absolute(), checkpoint.resolve())  # a link is looked at from both its ends
    run = next((place.parent.parent for place in places if (place.parent.parent / RUN_CONFIG).is_file()), None)
    if run is None:
        run = places[0].parent.parent
        raise UserError(f"model={checkpoint}: the config.yaml of its run is not in {run}.")
    return sampling_config(_read_run_config(run / RUN_CONFIG))


def _read_run_config(path: Path) -> dict[str, Any]:
    config = read_yaml_config(path)
    try:
        return as_dict(config)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None


def _refuse_foreign_code(config: Any, path: Path) -> None:
    if foreign := foreign_to_sampling(config):
        raise UserError(
            f"model={path}: its config wants to run {foreign[0]!r}, which is not part of aaa. "
            "If you know where it comes from: trust_config=true"
        )
