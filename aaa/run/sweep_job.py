"""Which job of a sweep this process runs, and where it writes."""

import logging
from collections.abc import Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from aaa.tracking.printed import shown
from aaa.tracking.recorded_overrides import own_overrides
from aaa.tracking.redaction import hide_argument

logger = logging.getLogger(__name__)


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
    return shown(Path(HydraConfig.get().runtime.output_dir))
