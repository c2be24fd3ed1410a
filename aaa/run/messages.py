"""What a run says of itself when it starts and when it ends."""

import logging
from pathlib import Path

import torch

logger = logging.getLogger(__name__)


def announce(
    folder: Path, name: str, parameters: int, flops: float, train: int, held_out: int, device: torch.device
) -> None:
    """Model, data, device and folder.

    Args:
        folder: of the run, as it is shown.
        name: of the model's config.
        parameters: of the model.
        flops: of its forward pass, for one picture.
        train, held_out: records of either kind.
        device: that trains.
    """
    logger.info(
        "%s: %s parameters, %.2f GFLOP forward a picture; %d records to train on, %d held out; on %s",
        name,
        f"{parameters:,}",
        flops / 1e9,
        train,
        held_out,
        describe_device(device),
    )
    if not held_out:
        logger.info("No records are held out (data.validation_fraction=0): no validation loss.")
    logger.info("Run folder: %s", folder)


def say_what_next(folder: Path, prompt: str, *, steps: int, stopped: bool, longer: str | None = None) -> None:
    """The commands that one wants now.

    Args:
        folder: of the run, as it is shown.
        prompt: one that the model knows.
        steps: taken so far.
        stopped: whether a signal ended the run early.
        longer: the command that trains for twice as long, where that is not to resume.
    """
    if stopped:
        logger.info("Stopped at step %d. To go on: python -m aaa.train resume=%s", steps, folder)
        return
    logger.info(
        "Done: %s\n"
        '  sample:  python -m aaa.sample model=%s prompt="%s"\n'
        "  longer:  %s\n"
        "  compare: python -m aaa.compare %s",
        folder,
        folder,
        prompt.replace('"', "'"),
        longer or f"python -m aaa.train resume={folder} trainer.max_steps={2 * steps}",
        folder.parent,
    )


def describe_device(device: torch.device) -> str:
    """The name of a GPU, or how many threads a CPU computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"
