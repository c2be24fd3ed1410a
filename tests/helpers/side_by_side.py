"""Several processes of a launch, played by threads of this one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aaa.evaluation.sharing import Processes

T = TypeVar("T")
R = TypeVar("R")


class Threads:
    """One of several threads that share work as processes would."""

    def __init__(self, index: int, count: int, barrier: threading.Barrier, table: list[object]) -> None:
        self.index, self.count = index, count
        self._barrier, self._table = barrier, table

    def wait(self) -> None:
        self._barrier.wait()

    def exchange(self, part: T) -> list[T]:
        self._table[self.index] = part
        self._barrier.wait()
        parts: list[T] = list(self._table)  # type: ignore[arg-type]
        self._barrier.wait()
        return parts

    def of_first(self, value: T) -> T:
        return self.exchange(value)[0]


def side_by_side(count: int, program: Callable[[Processes], R]) -> list[R]:
    """What each of so many makes of a program."""
    barrier = threading.Barrier(count, timeout=60)
    table: list[object] = [None] * count
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda index: program(Threads(index, count, barrier, table)), range(count)))
