"""Trained models on disk: what a run folder, a checkpoint or a model/ folder holds, found and written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.checkpoint_folders import AVERAGE, MODEL, STATE, damage, newest_whole
from aaa.config import CONF
from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError
from aaa.models.weights_file import DiTNumbers, read_dit_numbers
from aaa.schema import SamplingConfig
from aaa.trust import is_own_class, read_json_config, read_yaml_config, targets

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
RUN_CONFIG = "config.yaml"
DRAWN_WITH = (MODEL, AVERAGE)  # of a checkpoint
KEPT = ("model", "encoder", "scheduler", "sampling", "data")  # of a run's config, what sampling needs


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
    if isinstance(data := kept.get("data"), dict):
        kept["data"] = {key: value for key, value in data.items() if key in ("name", "resolution")}
    return kept


def find_saved(path: Path, weights: str, trust_config: bool, heads: int | None = None) -> SavedModel:
    """Find the weights and the config of a trained model.

    Args:
        path: a run folder (its finished model, else its newest checkpoint), a checkpoint, a model/ folder, or a file
            of weights alone such as DiffSynth's tutorial saves.
        weights: `ema` or `raw`, for checkpoints that have both.
        trust_config: let the config name any class, not only aaa's own.
        heads: attention heads, for a file that does not say how many it has.

    Raises:
        UserError: if there is no model there, or its config names classes that are not aaa's.
    """
    if weights not in ("ema", "raw"):
        raise UserError(f"weights={weights}: must be ema or raw.")
    if not path.exists():
        raise UserError(f"model={path}: there is no such folder.")
    if path.suffix == ".safetensors" and path.is_file():
        return SavedModel(path, tutorial_config(read_dit_numbers(path, heads)))
    if not path.is_dir():
        raise UserError(
            f"model={path}: not a folder, nor a .safetensors file. Give a run folder, one of its checkpoints or its "
            "model/ folder. (Pickled weights, .pth or .ckpt, can run code when they are loaded and are not read.)"
        )
    if (path / CONFIG).is_file():
        saved = SavedModel(path / WEIGHTS, read_json_config(path / CONFIG))
    elif (path / STATE).is_file():
        if (problem := damage(path, DRAWN_WITH)) is not None:
            raise UserError(f"model={path}: the checkpoint is damaged: {problem}.")
        saved = _from_checkpoint(path, weights)
    elif (path / RUN_CONFIG).is_file():
        finished = path / "model"
        if (finished / CONFIG).is_file() and weights == "ema":
            saved = SavedModel(finished / WEIGHTS, read_json_config(finished / CONFIG))
        elif (checkpoint := newest_whole(path, DRAWN_WITH)) is not None:
            saved = _from_checkpoint(checkpoint, weights)
        else:
            raise UserError(f"model={path}: this run has not saved a checkpoint yet.")
    else:
        raise UserError(
            f"model={path}: no model there. Give a run folder (with config.yaml), one of its checkpoints "
            "(with state.json) or a model/ folder (with config.json)."
        )
    missing = [key for key in KEPT if not isinstance(saved.config.get(key), dict)]
    if missing:
        raise UserError(f"model={path}: its config has no {', '.join(missing)}.")
    if not trust_config:
        _refuse_foreign_code(saved.config, path)
    return saved


def saved_statistics(path: Path) -> LatentStatistics | None:
    """What the model of a run folder, checkpoint or model/ folder had its latents normalised by, if by anything.

    Raises:
        UserError: if there is no model there.
    """
    if (path / RUN_CONFIG).is_file():
        config: dict[str, Any] = _read_run_config(path / RUN_CONFIG)
    else:
        config = find_saved(path, weights="ema", trust_config=True).config
    vae = config.get("encoder", {}).get("vae", {})
    if "latent_mean" not in vae:
        return None
    return LatentStatistics(tuple(vae["latent_mean"]), tuple(vae["latent_std"]))


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
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    kept = {str(key): value for key, value in resolved.items()}
    return kept | {"model": asdict(numbers), "data": {"name": "pokemon", "resolution": 256}}


def write_card(folder: Path, card: str) -> None:
    """Write the model card, README.md."""
    (folder / CARD).write_text(card, encoding="utf-8")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _from_checkpoint(checkpoint: Path, weights: str) -> SavedModel:
    run = checkpoint.parent.parent
    if not (run / RUN_CONFIG).is_file():
        raise UserError(f"model={checkpoint}: the config.yaml of its run is not in {run}.")
    config = _read_run_config(run / RUN_CONFIG)
    ema = checkpoint / AVERAGE
    chosen = ema if weights == "ema" and ema.is_file() else checkpoint / MODEL
    return SavedModel(chosen, sampling_config(config))


def _read_run_config(path: Path) -> dict[str, Any]:
    config = read_yaml_config(path)
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _refuse_foreign_code(config: Any, path: Path) -> None:
    for target in targets(config):
        if not is_own_class(target):
            raise UserError(
                f"model={path}: its config wants to run {target!r}, which is not part of aaa. "
                "If you know where it comes from: trust_config=true"
            )
