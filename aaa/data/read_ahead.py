"""Shards that batches to come will need, fetched while the device works on those before."""

import logging
from collections import deque
from collections.abc import Callable, Collection
from threading import Condition, Thread

from torch import Tensor

from aaa.data.order import DataOrder
from aaa.errors import UserError

logger = logging.getLogger(__name__)

MOST_BATCHES = 4096  # that it looks ahead
LOOK_SECONDS, CLOSE_SECONDS = 0.5, 10.0


class ReadAhead:
    """Walks the data order ahead of training, as far as there is room for the shards on the way.

    Args:
        order: of its own: a thread of its own asks it.
        shards_of: which shards have these records, `B`.
        offer: fetches a shard if there is room beside those to keep; whether it is here.
        batch_size: samples of a step.
        shards: how many there are, where all have room: nothing is left to do once they are here. None: never.
    """

    def __init__(
        self,
        order: DataOrder,
        shards_of: Callable[[Tensor], list[int]],
        offer: Callable[[int, Collection[int]], bool],
        batch_size: int,
        shards: int | None,
    ) -> None:
        self._shards = shards
        self._order, self._shards_of, self._offer, self._batch_size = order, shards_of, offer, batch_size
        self._changed = Condition()
        self._reached: int | None = None  # batch that training is at
        self._ended = False
        self._thread = Thread(target=self._run, name="read ahead", daemon=True)
        self._thread.start()

    def reached(self, position: int) -> None:
        """Say that training is at this place of the order."""
        batch = position // self._batch_size
        with self._changed:
            if batch != self._reached:
                self._reached = batch
                self._changed.notify()

    def close(self) -> None:
        """Read no more; what is being fetched is waited for, but not for long."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._walk()
        except UserError as error:  # who needs the shard will get the same error
            logger.debug("Reading ahead has ended: %s", error)

    def _walk(self) -> None:
        window: deque[tuple[int, list[int]]] = deque()  # batches from where training is, with their shards
        here: set[int] = set()
        following = 0
        while len(here) != self._shards and (batch := self._wait(following)) is not None:
            while window and window[0][0] < batch:
                window.popleft()
            if not window:  # training is further
                following = batch
            places = range(following * self._batch_size, (following + 1) * self._batch_size)
            needed = self._shards_of(self._order[places])
            keep = {shard for _, shards in window for shard in shards} | set(needed)
            if all(self._offer(shard, keep) for shard in needed):
                window.append((following, needed))
                here.update(needed)
                following += 1
            else:
                self._rest()

    def _wait(self, following: int) -> int | None:
        """The batch that training is at, once there is something to look at; None at the end."""
        with self._changed:
            while not self._ended:
                if self._reached is not None and following - self._reached < MOST_BATCHES:
                    return self._reached
                self._changed.wait(LOOK_SECONDS)
        return None

    def _rest(self) -> None:
        with self._changed:
            if not self._ended:
                self._changed.wait(LOOK_SECONDS)
