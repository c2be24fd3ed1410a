"""How much of the time a device is busy, told by the kernels and copies that a profiler saw."""

from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from aaa.training.timing import synchronize

Interval = tuple[float, float]


def busy_seconds(action: Callable[[], object], device: torch.device) -> float:
    """How long the device works while this runs, moments in which several things run counted once.

    On a CPU that is the time within torch's operations.
    """
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        action()
        synchronize(device)
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    # An annotation, such as an optimizer's of its step, spans what it is of and the gaps in it.
    work = [event for event in seen.events() if event.device_type == kind and not event.is_user_annotation]
    return covered((event.time_range.start, event.time_range.end) for event in work) / 1e6


def covered(intervals: Iterable[Interval]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
