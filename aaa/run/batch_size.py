"""How many samples a step has: what is configured, once it is known to fit, or as many as do."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor, nn

from aaa.run.folder import batch_size_of
from aaa.run.processes import of_first_process
from aaa.training.fitting import largest_batch, measure_footprint, require_fit
from aaa.training.step import require_shares

logger = logging.getLogger(__name__)


def fitting_batch_size(
    configured: int | str,
    earlier: Path | None,
    trial_loss: Callable[[int], Tensor],
    model: nn.Module,
    accelerator: Accelerator,
    *,
    micro_batches: int,
    records: int,
    recorded: bool = False,
) -> int:
    """The batch size of all processes and micro-batches together.

    Args:
        configured: a number, or `auto`.
        earlier: run folder whose choice `auto` takes over, if it has come to one.
        trial_loss: the loss of so many samples, to measure what they take.
        model: takes them.
        accelerator: says on which device, and how many processes share the batch.
        micro_batches: of a step.
        records: to train on.
        recorded: whether CUDA graphs keep the memory of a step beside that of steps that are taken as they are.

    Raises:
        UserError: if it does not fit, with the largest that does, or cannot be shared out.
    """
    parts = accelerator.num_processes, micro_batches
    footprint = measure_footprint(trial_loss, model, accelerator.device)
    if recorded:
        footprint = replace(footprint, per_sample=2 * footprint.per_sample)
    batch_size = configured
    if configured == "auto":
        chosen_before = None if earlier is None else of_first_process(batch_size_of(earlier), accelerator)
        batch_size = chosen_before or "auto"
    if batch_size == "auto":
        chosen = of_first_process(largest_batch(footprint, *parts, records, accelerator.device), accelerator)
        logger.info("trainer.batch_size=auto: %d", chosen)
        return chosen
    require_shares(int(batch_size), *parts)
    require_fit(footprint, int(batch_size), *parts, accelerator.device)
    return int(batch_size)
