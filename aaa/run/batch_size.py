"""How many samples a step has: what is configured, once it is known to fit, or as many as do."""

import logging
from pathlib import Path

from aaa.run.folder import batch_size_of
from aaa.run.session import Session
from aaa.training.fitting import Footprint, largest_batch, require_fit
from aaa.training.step import require_shares

logger = logging.getLogger(__name__)


def fitting_batch_size(
    configured: int | str,
    earlier: Path | None,
    footprint: Footprint,
    session: Session,
    *,
    micro_batches: int,
    records: int,
) -> int:
    """The batch size of all processes and micro-batches together.

    Args:
        configured: a number, or `auto`.
        earlier: run folder whose choice `auto` takes over, if it has come to one.
        footprint: of steps, on this process's device.
        session: says on which device, and which processes share the batch.
        micro_batches: of a step.
        records: to train on.

    Raises:
        UserError: if it does not fit, with the largest that does, or cannot be shared out.
    """
    processes, device = session.processes, session.device
    parts = processes.count, micro_batches
    batch_size = configured
    if configured == "auto":
        chosen_before = None if earlier is None else processes.of_first(batch_size_of(earlier))
        batch_size = chosen_before or "auto"
    if batch_size == "auto":
        chosen = min(processes.exchange(largest_batch(footprint, *parts, records, device)))
        logger.info("trainer.batch_size=auto: %d", chosen)
        return chosen
    require_shares(int(batch_size), *parts)
    require_fit(footprint, int(batch_size), *parts, device)
    return int(batch_size)
