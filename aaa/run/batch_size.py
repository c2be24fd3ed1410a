"""How many samples a step has: what is configured, once it is known to fit, or as many as do."""

import logging
from pathlib import Path

from accelerate import Accelerator

from aaa.run.folder import batch_size_of
from aaa.run.processes import least_of_processes, of_first_process
from aaa.training.fitting import Footprint, largest_batch, require_fit
from aaa.training.step import require_shares

logger = logging.getLogger(__name__)


def fitting_batch_size(
    configured: int | str,
    earlier: Path | None,
    footprint: Footprint,
    accelerator: Accelerator,
    *,
    micro_batches: int,
    records: int,
) -> int:
    """The batch size of all processes and micro-batches together.

    Args:
        configured: a number, or `auto`.
        earlier: run folder whose choice `auto` takes over, if it has come to one.
        footprint: of steps, on this process's device.
        accelerator: says on which device, and how many processes share the batch.
        micro_batches: of a step.
        records: to train on.

    Raises:
        UserError: if it does not fit, with the largest that does, or cannot be shared out.
    """
    parts = accelerator.num_processes, micro_batches
    batch_size = configured
    if configured == "auto":
        chosen_before = None if earlier is None else of_first_process(batch_size_of(earlier), accelerator)
        batch_size = chosen_before or "auto"
    if batch_size == "auto":
        chosen = least_of_processes(largest_batch(footprint, *parts, records, accelerator.device), accelerator)
        logger.info("trainer.batch_size=auto: %d", chosen)
        return chosen
    require_shares(int(batch_size), *parts)
    require_fit(footprint, int(batch_size), *parts, accelerator.device)
    return int(batch_size)
