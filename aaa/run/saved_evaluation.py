"""Judging a saved model on the data it was trained on."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from aaa.assembly.data import open_data
from aaa.assembly.parts import build_model, build_sampling
from aaa.assembly.same_latents import has_latents_of
from aaa.config.sampling_choice import SamplingChoice
from aaa.config.trust import read_yaml_config, refuse_foreign_code
from aaa.config.upgrade import upgrade
from aaa.devices import pick_device
from aaa.errors import UserError
from aaa.evaluation.drawing import EVALUATIONS, PictureDrawer
from aaa.evaluation.each_part import for_parts
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import Evaluation, NotApplicable, judged
from aaa.evaluation.sharing import Alone, Processes
from aaa.evaluation.validation import ValidationTable, row_losses, summarise
from aaa.pipelines.guide import load_guide
from aaa.run.folder import run_around
from aaa.run.same_prompts import embeds_as_before
from aaa.saved.checkpoint import load_weights
from aaa.saved.models import find_saved
from aaa.saved.named_model import RUN_CONFIG
from aaa.saved.weights_file import require_numbers
from aaa.tracking.console import LateDisplay
from aaa.tracking.environment import read_environment
from aaa.training.precision import model_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What came out.

    Attributes:
        metrics: by name.
        pictures: to look at, by name.
        weights: the file that was judged.
        table: the validation table, None if nothing is held out.
        compared: what metrics of drawn pictures were measured on, by their names.
    """

    metrics: Mapping[str, float]
    weights: Path
    table: ValidationTable | None
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)
    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def run_of(model: Path) -> Path:
    """The run folder that a run folder, a checkpoint, an exported model or a file of weights in these belongs to.

    Raises:
        UserError: if it belongs to none.
    """
    if (run := run_around(model, levels=3)) is not None:
        return run
    raise UserError(
        f"model={model}: neither a run folder (with {RUN_CONFIG}) nor inside one. A model is judged on the data of "
        "its run: give the run folder, one of its checkpoints, its model/ folder or a file of weights in them."
    )


def judge(
    model: Path,
    evaluation: Evaluation,
    choice: SamplingChoice | None = None,
    *,
    weights: str = "ema",
    device: str = "auto",
    precision: str | None = None,
    seed: int | None = None,
    trust_config: bool = False,
    processes: Processes | None = None,
) -> Judged:
    """Validate a saved model, and let an evaluation look at what it draws.

    Args:
        model: run folder, checkpoint, or the model/ folder of a run.
        evaluation: judges pictures.
        choice: in place of the run's own way to be sampled.
        weights: `ema` or `raw`, for checkpoints that have both.
        device: `auto`, `cpu` or `cuda`.
        precision: to run the model in; None for what `model_precision` says.
        seed: of the first picture; None for the run's own.
        trust_config: let the run's config name classes that conf/ does not, and that of a model that guides it too.
        processes: that share the work, each on a device of its own; None for this one alone.

    Raises:
        UserError: if there is no such model, or its data is gone.
    """
    run, processes = run_of(model), processes or Alone()
    config = upgrade(read_yaml_config(run / RUN_CONFIG))
    if not trust_config:
        refuse_foreign_code(config, f"model={run}")
    config = config if choice is None else choice.applied_to(config)
    saved = find_saved(model, weights, trust_config)
    run_in = model_precision(config.trainer.precision, torch.device(pick_device(device)), precision)
    sampling = build_sampling(config)
    load_guide(sampling.guidance, saved.config["encoder"], run_in, trust_config=trust_config)
    trained_on = _latents_of(run)
    try:
        data = open_data(config, str(run_in.device), trained_on=trained_on, weights=run)
    except UserError as refused:
        raise UserError(
            f"model={model}: the data that it was trained on cannot be opened. {refused}\n  Here it is "
            f"{run / RUN_CONFIG} that has these keys: write into it where the data is now, or bring it back."
        ) from None
    if trained_on is not None and not has_latents_of(data.cache, trained_on):
        logger.warning(
            "%s was trained on other latents than %s holds: pictures, prompts, data or encoder were changed since. "
            "Pictures held out now may be of those that it was trained on.",
            run,
            data.cache.path,
        )
    if not embeds_as_before(run, data):
        logger.warning(
            "%s was trained on other embeddings than its text encoder makes of prompts now: its code, or a library "
            "that it uses, was changed since.",
            run,
        )
    require_numbers(saved.weights, saved.config["model"])
    dit = build_model(config)
    load_weights(saved.weights, dit)
    dit.to(run_in.device, run_in.dtype).eval()
    metrics: dict[str, float] = {}
    if data.table is not None:
        with run_in.autocast():
            losses = row_losses(dit, sampling, data.table, run_in.device, run_in.dtype, processes)
        metrics |= summarise(losses, data.table)
        error = metrics.get("val/loss_standard_error")
        logger.info("Validation loss %.4f%s", metrics["val/loss"], "" if error is None else f" +- {error:.4f}")
    seed = config.sampling.seed if seed is None else seed
    drawer = PictureDrawer(data.cache, data.vae, sampling, seed=seed, precision=run_in, processes=processes)
    shown = LateDisplay("Drawing") if processes.index == 0 else _unseen
    evaluated = EvaluatedModel(dit, drawer, data.records, shown, source_pictures=data.source_pictures)
    try:
        found = judged(for_parts(evaluation, data.records_of_parts, data.spans_of_parts), evaluated)
    except NotApplicable as why:
        raise UserError(f"evaluation: it has nothing to say of this model: {why}") from None
    metrics |= found | ({EVALUATIONS: drawer.evaluations} if found else {})
    return Judged(metrics, saved.weights, data.table, evaluated.kept, evaluated.compared)


def _latents_of(run: Path) -> str | None:
    """Fingerprint of the latent cache that the run was trained on, if its records say."""
    data = read_environment(run).get("data")
    fingerprint = data.get("latent_cache") if isinstance(data, dict) else None
    return fingerprint if isinstance(fingerprint, str) else None


def _unseen(_done: int, _total: int) -> None:
    """Of several processes the first shows how far it is."""
