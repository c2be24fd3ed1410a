"""Train a text-to-image diffusion transformer from scratch: `python -m aaa.train [overrides]`."""

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from aaa.cli import run
from aaa.errors import UserError
from aaa.run.claim import release
from aaa.run.earlier_sweep import finished_run
from aaa.run.wandb_agent import require_agents_parameters
from aaa.tracking.variables import is_helper

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def train(config: "DictConfig") -> float | None:
    """Run one training run; returns its last validation loss, for sweepers that search for the lowest."""
    try:
        return _train(config)
    finally:
        release(Path(config.output_dir))


def _train(config: "DictConfig") -> float | None:
    if Path(config.output_dir).absolute() != Path(HydraConfig.get().runtime.output_dir) and not is_helper():
        raise UserError(
            f"output_dir={config.output_dir}: the folder of a run is set by hydra.run.dir={config.output_dir}"
        )
    in_sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    require_agents_parameters(config, HydraConfig.get().runtime.choices)
    if (
        in_sweep
        and OmegaConf.select(config, "sweep.resume")
        and (done := finished_run(Path(config.output_dir), config)) is not None
    ):
        logger.info("%s is finished%s: skipped.", config.output_dir, " (pruned)" if done.was_pruned else "")
        return done.validation_loss
    from aaa.run.training_run import TrainingRun  # torch is only loaded once the config is accepted
    from aaa.training.signals import ENOUGH, HANDED_ON

    training = TrainingRun(config)
    exit_code = 1
    signum = None
    try:
        signum = training.train()
        exit_code = 0 if signum is None or signum in (ENOUGH, *HANDED_ON) else 128 + signum
    finally:
        training.close(exit_code)
    if signum in HANDED_ON:
        # The state is saved: now whoever would have answered had the run not asked for time to save.
        signal.raise_signal(signum)
    if signum is not None and signum != ENOUGH:
        sys.exit(exit_code)
    return training.last_validation_loss


def main() -> None:
    """Entry point of `aaa-train`."""
    run(train, "train")


if __name__ == "__main__":
    main()
