"""Judging a saved model on the data it was trained on."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image

from aaa.config.build import build_model, build_sampling, pick_device
from aaa.config.checks import CONF
from aaa.config.data import open_data
from aaa.config.trust import foreign_targets, read_yaml_config
from aaa.config.upgrade import upgrade
from aaa.errors import UserError
from aaa.evaluation.painter import Painter
from aaa.evaluation.protocol import Evaluation, NotApplicable
from aaa.evaluation.studio import Studio
from aaa.evaluation.validation import row_losses, summarise
from aaa.models.saved import RUN_CONFIG, find_saved
from aaa.models.weights_file import require_numbers
from aaa.tracking.console import display
from aaa.tracking.environment import read_environment
from aaa.training.checkpoint import load_weights
from aaa.training.precision import precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What came out.

    Attributes:
        metrics: by name.
        pictures: to look at, by name.
        weights: the file that was judged.
        table: digest of the validation table, None if nothing is held out.
    """

    metrics: Mapping[str, float]
    weights: Path
    table: str | None
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)


def run_of(model: Path) -> Path:
    """The run folder that a run folder, a checkpoint, an exported model or a file of weights in these belongs to.

    Raises:
        UserError: if it belongs to none.
    """
    for folder in (model, *model.absolute().parents[:3]):
        if (folder / RUN_CONFIG).is_file():
            return folder
    raise UserError(
        f"model={model}: neither a run folder (with {RUN_CONFIG}) nor inside one. A model is judged on the data of "
        "its run: give the run folder, one of its checkpoints, its model/ folder or a file of weights in them."
    )


def judge(
    model: Path,
    evaluation: Evaluation,
    *,
    weights: str = "ema",
    device: str = "auto",
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    trust_config: bool = False,
) -> Judged:
    """Validate a saved model, and let an evaluation look at what it draws.

    Args:
        model: run folder, checkpoint, or the model/ folder of a run.
        evaluation: judges pictures.
        weights: `ema` or `raw`, for checkpoints that have both.
        device: `auto`, `cpu` or `cuda`.
        seed, steps, guidance: of sampling; None for the run's own.
        trust_config: let the run's config name classes that conf/ does not.

    Raises:
        UserError: if there is no such model, or its data is gone.
    """
    run = run_of(model)
    config = upgrade(read_yaml_config(run / RUN_CONFIG))
    if not trust_config:
        _refuse_foreign_code(config, run)
    saved = find_saved(model, weights, trust_config)
    mixed, dtype = precision(config.trainer.precision)
    place = torch.device(pick_device(device))
    data = open_data(config, str(place), trained_on=_latents_of(run))
    require_numbers(saved.weights, saved.config["model"])
    dit = build_model(config)
    load_weights(saved.weights, dit)
    dit.to(place, dtype).eval()
    autocast = partial(_autocast, place, enabled=mixed == "bf16")
    sampling = build_sampling(config, steps, guidance)
    metrics: dict[str, float] = {}
    if data.table is not None:
        with autocast():
            metrics |= summarise(row_losses(dit, sampling.prediction, data.table, place, dtype), data.table)
        logger.info("Validation loss %.4f +- %.4f", metrics["val/loss"], metrics["val/loss_standard_error"])
    painter = Painter(
        data.cache,
        data.vae,
        sampling,
        seed=config.sampling.seed if seed is None else seed,
        autocast=autocast,
        device=place,
        dtype=dtype,
    )
    studio = Studio(dit, painter, data.records, _Shown())
    try:
        metrics |= evaluation.evaluate(studio)
    except NotApplicable as why:
        raise UserError(f"evaluation: it has nothing to say of this model: {why}") from None
    return Judged(metrics, saved.weights, None if data.table is None else data.table.digest, studio.kept)


def _latents_of(run: Path) -> str | None:
    """Fingerprint of the latent cache that the run was trained on, if its records say."""
    data = read_environment(run).get("data")
    fingerprint = data.get("latent_cache") if isinstance(data, dict) else None
    return fingerprint if isinstance(fingerprint, str) else None


class _Shown:
    """Shows how many pictures of a batch of them are drawn."""

    def __init__(self) -> None:
        self._stack: Any = None
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._stack = display("Drawing", total)
            self._bar = self._stack.__enter__()
        self._bar.update(done)
        if done == total:
            self._stack.__exit__(None, None, None)
            self._bar = None


def _autocast(device: torch.device, *, enabled: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _refuse_foreign_code(config: DictConfig, run: Path) -> None:
    if foreign := foreign_targets(config, CONF):
        raise UserError(
            f"model={run}: its config wants to run {foreign[0]!r}, which conf/ does not name. If the run is yours, or "
            "you know where it comes from: trust_config=true"
        )
