"""Train a text-to-image diffusion transformer from scratch: `python -m aaa.train [overrides]`."""

import signal
import sys
from typing import TYPE_CHECKING

from aaa.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(config: "DictConfig") -> float | None:
    """Run one training run; returns its last validation loss, for sweepers that search for the lowest."""
    from aaa.run.training_run import TrainingRun  # torch is only loaded once the config is accepted
    from aaa.training.signals import HANDED_ON

    training = TrainingRun(config)
    exit_code = 1
    signum = None
    try:
        signum = training.train()
        exit_code = 0 if signum is None or signum in HANDED_ON else 128 + signum
    finally:
        training.close(exit_code)
    if signum in HANDED_ON:
        # The state is saved: now whoever would have answered had the run not asked for time to save.
        signal.raise_signal(signum)
    if signum is not None:
        sys.exit(exit_code)
    return training.last_validation_loss


def main() -> None:
    """Entry point of `aaa-train`."""
    run(train, "train")


if __name__ == "__main__":
    main()
