"""How much of the time a device is busy, told by the kernels and copies that a profiler saw."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from aaa.training.timing import synchronize

Interval = tuple[float, float]


def busy_seconds(action: Callable[[], object], device: torch.device) -> float:
    """How long the device works while this runs, moments in which several things run counted once.

    On a CPU that is the time within torch's operations.
    """
    work = work_in(profiled(action, device).events(), device)
    return covered((event.time_range.start, event.time_range.end) for event in work) / 1e6


def profiled(action: Callable[[], object], device: torch.device) -> profile:
    """What torch's profiler has seen of the device while this ran."""
    with profile(activities=[ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]) as seen:
        action()
        synchronize(device)
    return seen


def work_in(events: Iterable[Any], device: torch.device) -> list[Any]:
    """Those of a profiler's events that are work of the device.

    An annotation, such as an optimizer's of its step, spans what it is of and the gaps in it.
    """
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    return [event for event in events if event.device_type == kind and not event.is_user_annotation]


def covered(intervals: Iterable[Interval]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
