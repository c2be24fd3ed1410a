"""An order for shards of which a disk holds only some at once: all records of a few shards, then of a few others.

Every epoch shards are shuffled, cut into groups that fit, and the records of each group are shuffled among themselves;
all by formula, from anywhere on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.data.kept import KeptRecords
from aaa.data.order import EpochOrder, ShapeRanges, formulas_by_shape, shuffled_by_shape
from aaa.data.permutation import permuted
from aaa.data.randomness import generator


@dataclass(frozen=True)
class ShardGroups:
    """What a disk holds of the shards of a cache.

    Attributes:
        spans: indices of each shard's records.
        nbytes: size of each shard.
        limit_bytes: of the shards that are there at once.
    """

    spans: Sequence[range]
    nbytes: Sequence[int]
    limit_bytes: int

    def moved(self, by: int) -> "ShardGroups":
        """The same where so many other records stand before them."""
        return ShardGroups([range(s.start + by, s.stop + by) for s in self.spans], self.nbytes, self.limit_bytes)


def orders_by_shape(
    records: Tensor | KeptRecords, groups: ShardGroups | None, shape_ids: ShapeRanges, seed: int
) -> Mapping[int, EpochOrder]:
    """The records of each shape, in an order of their own: of a large cache by formula.

    Args:
        records: to train on.
        groups: what a disk holds of their cache at once; None: all.
        shape_ids: which shape of latents each record of the cache has.
        seed: of the order.
    """
    if groups is not None:
        return grouped_by_shape(records, groups, shape_ids, seed)
    if isinstance(records, KeptRecords):
        return formulas_by_shape(records, shape_ids, seed)
    return shuffled_by_shape(records, shape_ids, seed)


def grouped_by_shape(
    records: Tensor | KeptRecords, groups: ShardGroups, shape_ids: ShapeRanges, seed: int
) -> dict[int, EpochOrder]:
    """The records of each shape, in an order of their own.

    The room is for the group that is read and for the next one of each shape.

    Args:
        records: to train on; a list is sorted.
        groups: of the cache.
        shape_ids: which shape of latents each record of the cache has.
        seed: of the order.
    """
    bounds = torch.tensor([[span.start, span.stop] for span in groups.spans])
    if isinstance(records, KeptRecords):
        places = records.before(bounds)
    else:
        records = records.sort().values
        places = torch.searchsorted(records, bounds)
    shapes = shape_ids[bounds[:, 0].contiguous()].tolist()
    room = groups.limit_bytes // (2 * len(set(shapes)))
    orders: dict[int, EpochOrder] = {}
    for shape in sorted(set(shapes)):
        own = [shard for shard, other in enumerate(shapes) if other == shape and places[shard, 0] < places[shard, 1]]
        if own:
            orders[shape] = GroupedOrder(records, places[own], [groups.nbytes[shard] for shard in own], room, seed)
    return orders


class _Epoch(NamedTuple):
    """How an epoch is laid out.

    Attributes:
        number: of it.
        shards: which follows which, `S`.
        ends: where each of these ends, `S`.
        group_ends: where each group of them does, `G`.
    """

    number: int
    shards: Tensor
    ends: Tensor
    group_ends: Tensor


class GroupedOrder(EpochOrder):
    """Every record once an epoch, a group of shards at a time.

    Args:
        records: to train on.
        places: where the records of each shard are among them, from and to, `S 2`.
        nbytes: size of each shard.
        room: for a group, in bytes; a shard that is larger is a group alone.
        seed: of the shuffles.
    """

    def __init__(
        self, records: Tensor | KeptRecords, places: Tensor, nbytes: Sequence[int], room: int, seed: int
    ) -> None:
        self._starts, self._counts = places[:, 0], places[:, 1] - places[:, 0]
        super().__init__(int(self._counts.sum()))
        self._records, self._nbytes, self._room, self._seed = records, nbytes, room, seed
        self._latest: _Epoch | None = None

    def _laid_out(self, number: int) -> _Epoch:
        shards = torch.randperm(len(self._starts), generator=generator(self._seed, "shards", number))
        ends = self._counts[shards].cumsum(0)
        group_ends, held = [], 0
        for place, shard in enumerate(shards.tolist()):
            if held and held + self._nbytes[shard] > self._room:
                group_ends.append(int(ends[place - 1]))
                held = 0
            held += self._nbytes[shard]
        return _Epoch(number, shards, ends, torch.tensor([*group_ends, self.length]))

    def _of_epoch(self, epoch: int, places: range) -> Tensor:
        laid = self._latest  # read once: other threads may ask for other epochs meanwhile
        if laid is None or laid.number != epoch:
            self._latest = laid = self._laid_out(epoch)
        found, start = [], places.start
        while start < places.stop:
            group = int(torch.searchsorted(laid.group_ends, start, right=True))
            first = int(laid.group_ends[group - 1]) if group else 0
            end = int(laid.group_ends[group])
            within = torch.arange(start, min(end, places.stop)) - first
            found.append(first + permuted(within, end - first, "group", self._seed, epoch, group))
            start += len(within)
        standing = torch.cat(found)
        number = torch.searchsorted(laid.ends, standing, right=True)
        shard = laid.shards[number]
        own = standing - (laid.ends[number] - self._counts[shard])
        return self._records[self._starts[shard] + own]
