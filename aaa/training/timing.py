"""Clocks: of the device's own time, of what it multiplies matrices at, and of memory."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch

PATIENCE_SECONDS = 0.5  # with one matrix product


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """How long this takes on the device."""
    synchronize(device)
    began = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - began


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 5th and 95th percentile."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return median(ordered), ordered[round(0.05 * last)], ordered[round(0.95 * last)]


def matmul_rate(device: torch.device, dtype: torch.dtype, *, quick: bool = False) -> float:
    """Floating-point operations a second of a big matrix product, the best of several sizes and tries.

    Where the device has no instructions for the dtype one product may take seconds: then a few must do.

    Args:
        device: that multiplies.
        dtype: of the matrices.
        quick: one size must do.
    """
    best = 0.0
    own = torch.Generator(device).manual_seed(0)  # what a run draws is not to change by it
    sizes = (4096, 8192) if device.type == "cuda" else (1024, 2048)
    for size in sizes[:1] if quick else sizes:
        one, other = (torch.randn(size, size, device=device, dtype=dtype, generator=own) for _ in range(2))
        product = partial(torch.mm, one, other)
        crawls = seconds(product, device) > PATIENCE_SECONDS
        tries = 1 if crawls else 20 if device.type == "cuda" else 5
        best = max(best, 2 * size**3 / min(seconds(product, device) for _ in range(tries)))
        if crawls:
            break
    return best
