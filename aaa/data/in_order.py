"""The same work for many things, done ahead of who asks for the results and in their order."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median
from threading import Event
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# Seconds. What takes less is Python's own work for the most part, which threads only wait for each other to do: 8,448
# drawn shapes of 0.25 ms are read and encoded in 2.4 s by one thread, in 4.0 s by two (2 cores).
QUICK = 8e-4
THREADS = 8
PIECES = 16  # that a batch is read in


def in_order(read: Callable[[Job], Result], jobs: Sequence[Job], batch_size: int) -> Iterator[Result]:
    """What `read` makes of each job, up to two batches ahead: by several threads, or by one where each is quick.

    Whoever stops asking waits for no more than the jobs that are being done.

    Args:
        read: what is to be done; must not raise.
        jobs: in the order of the results.
        batch_size: how many results are used at once.
    """
    size = -(-batch_size // PIECES)
    ahead = 2 * batch_size // size
    stopped = Event()

    def read_piece(piece: Sequence[Job]) -> tuple[list[Result], float]:
        results, seconds = [], []
        for job in piece:
            began = time.perf_counter()
            results.append(read(job))
            seconds.append(time.perf_counter() - began)
            if stopped.is_set():
                break
        return results, median(seconds)  # a mean is of waiting for others too

    waiting: deque[Future[tuple[list[Result], float]]] = deque()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as several:
        pool = several
        try:
            for start in range(0, len(jobs), size):
                waiting.append(pool.submit(read_piece, jobs[start : start + size]))
                if len(waiting) == ahead:
                    results, seconds = waiting.popleft().result()
                    pool = one if seconds < QUICK else several
                    yield from results
            while waiting:
                yield from waiting.popleft().result()[0]
        finally:
            stopped.set()
            for future in waiting:
                future.cancel()
