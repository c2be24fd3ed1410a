"""Work on pictures that the processes of a run share out: who does what of it, and how each comes to have the whole."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from aaa.training.even_shares import even_shares

T = TypeVar("T")

# Whole batches are dealt out, as large as they can be while no process has more than this times an equal share.
UNEVEN = 1.25


class Processes(Protocol):
    """Those that run the same program side by side; each calls each of these methods, in the same order.

    Attributes:
        index: of this one, from 0; the first is the one that writes.
        count: how many there are.
    """

    index: int
    count: int

    def wait(self) -> None:
        """Return once all have come here, however long that takes."""
        ...

    def exchange(self, part: T) -> list[T]:
        """The parts of all, in their order, once all have come here; what a part is must pickle."""
        ...

    def of_first(self, value: T) -> T:
        """The first one's value; what it is must pickle."""
        ...


class Alone:
    """One process, which has nobody to wait for."""

    index, count = 0, 1

    def wait(self) -> None:
        """Nothing."""

    def exchange(self, part: T) -> list[T]:
        """Its own part."""
        return [part]

    def of_first(self, value: T) -> T:
        """Its own value."""
        return value


def groups_of(kinds: Tensor) -> list[Tensor]:
    """The numbers of the rows of each kind, given the kind of each row."""
    return [(kinds == kind).nonzero()[:, 0] for kind in kinds.unique()]


def deal(groups: Sequence[Tensor], most: int, processes: int) -> list[list[Tensor]]:
    """Cut rows into batches, and give each process some of them: about as many rows as any other.

    One process gets batches of `most`, group by group. Several get the very same ones where these can be shared out
    evenly, else halves of them, quarters and so on: what a network makes of a row differs by rounding with the number
    of rows beside it, so that the fewer batches are cut, the more numbers are the same to the bit.

    Args:
        groups: numbers of rows, any of which may be in a batch with others of their group.
        most: rows of a batch.
        processes: how many there are.

    Returns:
        The batches of each process.
    """
    even = -(-sum(map(len, groups)) // processes)
    while True:
        hands = _deal([batch for group in groups if len(group) for batch in group.split(most)], processes)
        if max(sum(map(len, hand)) for hand in hands) <= UNEVEN * even:
            return hands
        most = -(-most // 2)


def _deal(batches: Sequence[Tensor], processes: int) -> list[list[Tensor]]:
    """What each process has is in the order it came in."""
    hands: list[list[Tensor]] = [[] for _ in range(processes)]
    for batch, process in zip(batches, even_shares(list(map(len, batches)), processes), strict=True):
        hands[process].append(batch)
    return hands


def share_out(
    processes: Processes,
    groups: Sequence[Tensor],
    most: int,
    work: Callable[[Tensor], Sequence[T]],
    on_done: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[T]:
    """What `work` makes of each row, in the order of their numbers; each process works on its share.

    Args:
        processes: that share it out.
        groups: the numbers 0, 1, ... in any order, as `deal` takes them.
        most: rows to work on at once.
        work: makes something of each of some rows of a group; which others are beside it must not matter.
        on_done: told, now and then, how many rows of its share this process has done, and how many those are.
    """
    share = deal(groups, most, processes.count)[processes.index]
    total = sum(map(len, share))
    done: dict[int, T] = {}
    for rows in share:
        done |= zip(rows.tolist(), work(rows), strict=True)
        on_done(len(done), total)
    whole = {row: result for part in processes.exchange(done) for row, result in part.items()}
    return [whole[row] for row in range(len(whole))]
