"""Processes that wait for each other without end, and tell each other what they have found."""

import logging
import time
from datetime import timedelta
from typing import TypeVar

from torch import distributed

from aaa.evaluation.sharing import Alone, Processes

T = TypeVar("T")

NO_END = timedelta(days=10_000)
PAUSE_SECONDS = 0.01


class Together:
    """The processes of a launch, as `aaa.evaluation.sharing.Processes`.

    They meet in a group of their own, on gloo: it has its own limit of time (none), so that who evaluates, writes or
    uploads for long ends no collective of the training; waiting in it keeps no GPU busy; what is told does not pass
    through a GPU's memory; and where a process has died, the wait of the others ends at once with an error, which a
    file or key that they look for would not tell them. Signals are answered while it waits.

    Args:
        index: of this process.
        count: of the processes, which have joined torch's default group.
    """

    def __init__(self, index: int, count: int) -> None:
        self.index, self.count = index, count
        group = distributed.new_group(backend="gloo", timeout=NO_END)
        assert isinstance(group, distributed.ProcessGroup)  # who is left out of a group gets a number
        self._group = group

    def wait(self) -> None:
        """Return once all have come here, however long that takes.

        Raises:
            RuntimeError: if one of them is gone.
        """
        barrier = distributed.barrier(self._group, async_op=True)
        assert barrier is not None
        while not barrier.is_completed():
            time.sleep(PAUSE_SECONDS)
        barrier.wait()

    def exchange(self, part: T) -> list[T]:
        """The parts of all, in their order, once all have come here; each process holds them all.

        Raises:
            RuntimeError: if one of them is gone.
        """
        self.wait()
        parts: list[T] = [part] * self.count
        distributed.all_gather_object(parts, part, group=self._group)
        return parts

    def of_first(self, value: T) -> T:
        """The first one's value, once all have come here.

        Raises:
            RuntimeError: if one of them is gone.
        """
        self.wait()
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]


def meet(index: int, count: int) -> Processes:
    """What processes of a launch share work and wait with; only the first has more to say than warnings."""
    if count == 1:
        return Alone()
    if index:
        logging.getLogger("aaa").setLevel(logging.WARNING)
    return Together(index, count)
