"""Whether a run has nothing left to do: found before torch is loaded."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from aaa.config.trust import read_yaml_config
from aaa.run.sweep_job import is_of_sweep
from aaa.saved.named_model import RUN_CONFIG, is_exported

PRUNED = "sweep/pruned"  # the metric of a run that was given up


@dataclass(frozen=True)
class FinishedRun:
    """A run with nothing left to do.

    Attributes:
        validation_loss: the last, or None if it had none.
        was_pruned: whether it was given up on its way.
    """

    validation_loss: float | None
    was_pruned: bool

    def said_of(self, folder: Path) -> str:
        """That the run in this folder, as it is shown, is not done again."""
        return f"{folder} is finished{' (pruned)' if self.was_pruned else ''}: skipped."


def finished_job(folder: Path, config: DictConfig) -> FinishedRun | None:
    """What came out of a job of a sweep that is gone on with, or None if it is still to be done."""
    wanted = is_of_sweep() and OmegaConf.select(config, "sweep.resume")
    return finished_run(folder, config) if wanted else None


def finished_run(folder: Path, config: DictConfig) -> FinishedRun | None:
    """What came out of the run in this folder, or None if it has not taken all its steps.

    Args:
        folder: of the run.
        config: of the run that is to be there now.
    """
    from aaa.tracking.tracker import METRICS, last_of, read_metrics

    rows = read_metrics(folder / METRICS)
    if not rows:
        return None
    was_pruned = any(PRUNED in row for row in rows)
    # How many steps a budget allows was found out by the run itself.
    told = config.budget.flops is None and config.budget.seconds is None
    recorded = config if told else read_yaml_config(folder / RUN_CONFIG)
    whole = max(row["step"] for row in rows) >= recorded.trainer.max_steps and is_exported(folder)
    if not whole and not was_pruned:
        return None
    return FinishedRun(last_of(rows, "val/loss"), was_pruned)
