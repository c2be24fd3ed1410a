"""The next batch, read from disk while the device works on this one."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from aaa.data.batch import Batch


class Prefetch:
    """Wraps a function of positions in the data order: asked for one batch, a thread of its own gets the next.

    Positions are expected to move on by the same stride every time; where they do not, the batch is read when it is
    asked for, so what comes back is always what was asked for.

    Args:
        batches: the samples at these positions, on the CPU.
        stride: positions from the start of a batch to that of the next.
        pin: put them into page-locked memory, from which a GPU copies without anybody waiting.
    """

    def __init__(self, batches: Callable[[range], Batch], stride: int, *, pin: bool) -> None:
        self._batches, self._stride, self._pin = batches, stride, pin
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._expected: range | None = None
        self._next: Future[Batch] | None = None

    def __call__(self, positions: range) -> Batch:
        """The samples at these positions."""
        coming = self._next if positions == self._expected else None
        batch = self._thread.submit(self._read, positions).result() if coming is None else coming.result()
        self._expected = range(positions.start + self._stride, positions.stop + self._stride)
        self._next = self._thread.submit(self._read, self._expected)
        return batch

    def close(self) -> None:
        """Read no more."""
        self._thread.shutdown(cancel_futures=True)

    def _read(self, positions: range) -> Batch:
        batch = self._batches(positions)
        return batch.pin_memory() if self._pin else batch
