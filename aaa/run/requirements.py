"""What has to be given for a run to come to anything: looked at before its first step."""

import difflib
import logging
from collections.abc import Collection

import torch
from omegaconf import DictConfig

from aaa.errors import UserError
from aaa.evaluation.drawing import PictureDrawer
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.none import NoEvaluation
from aaa.evaluation.protocol import Evaluation, NotApplicable, check
from aaa.evaluation.validation import summarise
from aaa.run.run import Run

logger = logging.getLogger(__name__)

ALWAYS_LOGGED = ("train/loss", "train/lr", "train/grad_norm", "samples", "seconds", "flops")
ALSO_LOGGED = ("perf/", "grad_norm/", "weight_norm/")
OF_TRAINING = ("val/", "train/")
FEW = 5  # metrics that a message names


def require_outcome(run: Run, evaluation: Evaluation, drawer: PictureDrawer) -> None:
    """Refuse what will come to nothing: an evaluation that does not apply, a best checkpoint by what nobody measures.

    Raises:
        UserError: with the reason.
    """
    config, table = run.config, run.data.table
    evaluated = EvaluatedModel(run.learner.model, drawer, run.data.records, source_pictures=run.data.source_pictures)
    require_applicable(evaluation, evaluated, resumed=run.origin.before is not None)
    measured: dict[str, float] = {}
    if table is not None and config.trainer.validate_every_steps:
        measured = summarise(torch.zeros(len(table.sigmas)), table)
    require_metric(config, evaluation, [name + suffix for suffix in run.learner.judged for name in measured])


def require_applicable(evaluation: Evaluation, evaluated: EvaluatedModel, *, resumed: bool) -> None:
    """Refuse an evaluation that will have nothing to say; of a run that is resumed only warn.

    Raises:
        UserError: with the reason.
    """
    try:
        check(evaluation, evaluated)
    except NotApplicable as why:
        if not resumed:
            raise UserError(
                f"evaluation: it would have nothing to say of this run. {why}\n"
                "  Without it: evaluation=none; for any data: evaluation=latent_distance"
            ) from None
        logger.warning("The evaluation will have nothing to say: %s", why)


def require_metric(config: DictConfig, evaluation: Evaluation, validated: Collection[str]) -> None:
    """Refuse `checkpoint.metric` and `checkpoint.keep_best` where nothing measures what is best.

    The defaults are no wish: a run without validation keeps its newest checkpoints.

    Args:
        config: of the run.
        evaluation: may measure more.
        validated: metrics that the validation measures; none where there is no validation.

    Raises:
        UserError: naming the key.
    """
    metric, best = config.checkpoint.metric, config.checkpoint.keep_best
    if not best or (metric, best) == ("val/loss", 1):
        return
    said = f"checkpoint.metric={metric} with checkpoint.keep_best={best}"
    if metric.startswith("val/") and not validated:
        raise UserError(
            f"{said}: nothing is validated (trainer.validate_every_steps={config.trainer.validate_every_steps}, "
            f"data.validation_fraction={config.data.validation_fraction}), so no checkpoint is best."
        )
    logged = [*validated, *ALWAYS_LOGGED]
    if metric in logged or metric.startswith(ALSO_LOGGED):
        return
    judged = not isinstance(evaluation, NoEvaluation) and not metric.startswith(OF_TRAINING)
    if judged and config.trainer.evaluate_every_steps:
        return
    if judged:
        raise UserError(
            f"{said}: the evaluation comes only at the end (trainer.evaluate_every_steps=0), so nothing says which "
            "checkpoint before it is best. Give a number of steps."
        )
    near = difflib.get_close_matches(metric, logged, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UserError(f"{said}: nothing logs this metric{hint}. There is: {', '.join(logged)}.")


def warn_if_unmeasured(config: DictConfig, measured: Collection[str]) -> None:
    """Say so where `checkpoint.metric` is the evaluation's to measure, and it does not.

    What it measures may depend on the data and on what pictures are compared with, so that only its result tells.

    Args:
        config: of the run.
        measured: metrics that the evaluation has given.
    """
    metric = config.checkpoint.metric
    if not config.checkpoint.keep_best or metric in (*measured, *ALWAYS_LOGGED):
        return
    if metric.startswith((*OF_TRAINING, *ALSO_LOGGED)):
        return
    near = difflib.get_close_matches(metric, [*measured], n=FEW, cutoff=0)
    logger.warning(
        "checkpoint.metric=%s: the evaluation has not measured it, so no checkpoint is kept for being the best by it. "
        "What it has measured is called %s%s.",
        metric,
        ", ".join(near),
        ", ..." if len(measured) > len(near) else "",
    )
