"""Steps that are foreseen to take so long that someone who waits for the first would think that nothing happens."""

import torch

from aaa.tracking.durations import duration
from aaa.training.timing import matmul_rate

PATIENCE_SECONDS = 60.0
LEAST_RATES = {"cpu": 1e10, "cuda": 1e13}  # FLOPs a second of a slow one: what is quick on it is quick anywhere


def why_it_crawls(flops: float, device: torch.device, dtype: torch.dtype) -> str | None:
    """What is to be said before a step of so many FLOPs is taken, if it takes minutes; None if it does not.

    Args:
        flops: of a step, of one process.
        device: that takes it.
        dtype: of its matrix products, whose speed is taken as the limit for all of it.
    """
    if flops < PATIENCE_SECONDS * LEAST_RATES.get(device.type, 0.0):
        return None
    seconds = flops / matmul_rate(device, dtype, quick=True)
    if seconds < PATIENCE_SECONDS:
        return None
    return (
        f"A step is {flops:.2g} FLOPs, which take this {device.type} {duration(seconds)} or more, and nothing is shown "
        "before the first is taken. Smaller pictures (data.resolution), a smaller model or batches are quicker; "
        "`python -m aaa.plan` with the same settings says what a run takes."
    )
