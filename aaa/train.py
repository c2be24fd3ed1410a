"""Train a text-to-image diffusion transformer from scratch: `python -m aaa.train [overrides]`."""

import sys
from typing import TYPE_CHECKING

from aaa.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(config: "DictConfig") -> float | None:
    """Run one training run; returns its last validation loss, for sweepers that search for the lowest."""
    from aaa.training_run import TrainingRun  # torch is only loaded once the config is accepted

    training = TrainingRun(config)
    exit_code = 1
    try:
        signum = training.train()
        exit_code = 0 if signum is None else 128 + signum
    finally:
        training.close(exit_code)
    if exit_code:
        sys.exit(exit_code)
    return training.last_validation_loss


def main() -> None:
    """Entry point of `aaa-train`."""
    run(train, "train")


if __name__ == "__main__":
    main()
