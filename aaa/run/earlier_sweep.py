"""The sweep that a command goes on with, and which of its runs are finished: found before torch is loaded."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from aaa.config.overrides import value_of, wants_sweep
from aaa.config.recorded_overrides import MULTIRUN, overrides_of_sweep, own_overrides
from aaa.config.trust import read_yaml_config
from aaa.tracking.redaction import hide_argument

logger = logging.getLogger(__name__)

SAME_SWEEP = "the same command with sweep.resume=true"  # how a sweep is gone on with
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


def asks_to_go_on(arguments: list[str]) -> bool:
    """Whether the arguments are of a sweep that is to go on with an earlier one, if there is one.

    One that Optuna leads goes on with its study in any case, in a new folder (see `say_how_a_study_goes_on`).
    """
    asked = wants_sweep(arguments) and value_of(arguments, "sweep.resume") is True
    return asked and value_of(arguments, "sweep") != "optuna"


def earlier_sweep(arguments: list[str]) -> Path | None:
    """The newest folder of a sweep with the very same overrides, or None if there is none, or it is not wanted."""
    if not asks_to_go_on(arguments):
        return None
    wanted = own_overrides(arguments)
    if chosen := value_of(arguments, "hydra.sweep.dir"):
        folder = Path(str(chosen)).absolute()
        return folder if own_overrides(overrides_of_sweep(folder)) == wanted else None
    found = sorted(Path("outputs").glob(f"**/{MULTIRUN}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next(
        (path.parent.absolute() for path in found if own_overrides(overrides_of_sweep(path.parent)) == wanted), None
    )


def is_of_sweep() -> bool:
    """Whether this process runs a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def say_which_job(called: Mapping[str, str]) -> None:
    """Say which job of a sweep begins, if one does.

    Hydra's launcher is kept from it: it does not say so of the first, and hides no secrets.

    Args:
        called: keys that people call by another name than the config, by that name.
    """
    if not is_of_sweep():
        return
    logging.getLogger("hydra._internal.core_plugins.basic_launcher").setLevel(logging.WARNING)
    job, names = HydraConfig.get(), {key: name for name, key in called.items()}
    told = []
    for override in own_overrides(list(job.overrides.task)):
        key, equals, value = hide_argument(override).partition("=")
        told.append(f"{names.get(key, key)}{equals}{value}")
    logger.info("#%d: %s", job.job.num, " ".join(told))


def folder_of_job(out: Path) -> Path:
    """Where to write what is to be written here: each job of a sweep has a folder of its own in it."""
    return out / str(HydraConfig.get().job.num) if is_of_sweep() else out


def output_dir_of_job() -> Path | None:
    """The folder that Hydra has made for this job of a sweep, below the working directory where it is; else None."""
    if not is_of_sweep():
        return None
    folder = Path(HydraConfig.get().runtime.output_dir)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


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
    recorded = config if told else read_yaml_config(folder / "config.yaml")
    whole = (
        max(row["step"] for row in rows) >= recorded.trainer.max_steps and (folder / "model" / "config.json").is_file()
    )
    if not whole and not was_pruned:
        return None
    return FinishedRun(last_of(rows, "val/loss"), was_pruned)
