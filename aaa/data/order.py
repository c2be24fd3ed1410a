"""The order in which training visits its records: every epoch another, the same for the same seed, from anywhere on."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from aaa.data.kept import KeptRecords
from aaa.data.permutation import permuted
from aaa.data.randomness import generator
from aaa.data.turns import LONGEST, Turns


class DataOrder(Protocol):
    """The endless sequence of records that training visits, epoch after epoch.

    Attributes:
        of_batches: whether places count within batches, which begin at multiples of their size.
    """

    of_batches: bool

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places."""
        ...


class Shapes(Protocol):
    """Which shape of latents records have: a tensor of all, or a formula."""

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Of the records with these indices, `B`."""
        ...


class ShapeRanges(Shapes, Protocol):
    """The same where records of one shape lie together."""

    def ranges(self) -> Sequence[Sequence[range]]:
        """Where the records of each shape lie."""
        ...


def shuffled_by_shape(indices: Tensor, shape_ids: Shapes, seed: int) -> "dict[int, EpochOrder]":
    """The records of each shape that there are, in an order of their own."""
    shapes = shape_ids[indices]
    return {shape: ShuffledOrder(indices[shapes == shape], seed) for shape in shapes.unique().tolist()}


def formulas_by_shape(kept: KeptRecords, shape_ids: ShapeRanges, seed: int) -> "dict[int, EpochOrder]":
    """The same of a large cache."""
    by_shape = {shape: kept.within(ranges) for shape, ranges in enumerate(shape_ids.ranges())}
    return {shape: FormulaOrder(part, seed) for shape, part in by_shape.items() if len(part)}


def buckets_in_order(buckets: "Sequence[EpochOrder]", batch_size: int, seed: int) -> DataOrder:
    """The order of records whose shapes have each their own: by batches, if there are several.

    Shapes take turns as often as they have records, so that all records come equally often.
    """
    if len(buckets) == 1:
        return buckets[0]
    return BucketedOrder(buckets, [Fraction(bucket.length) for bucket in buckets], batch_size, seed)


class EpochOrder:
    """Every record once an epoch, in an order of that epoch's.

    Args:
        length: how many records there are.
    """

    of_batches = False

    def __init__(self, length: int) -> None:
        self.length = length

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places."""
        picked = []
        start = positions.start
        while start < positions.stop:
            epoch, offset = divmod(start, self.length)
            taken = min(self.length - offset, positions.stop - start)
            picked.append(self._of_epoch(epoch, range(offset, offset + taken)))
            start += taken
        return torch.cat(picked)

    def _of_epoch(self, epoch: int, places: range) -> Tensor:
        raise NotImplementedError


class ShuffledOrder(EpochOrder):
    """Every record once an epoch, by a shuffle of all.

    Args:
        indices: of the training records.
        seed: of the shuffles.
    """

    def __init__(self, indices: Tensor, seed: int) -> None:
        super().__init__(len(indices))
        self.indices, self.seed = indices, seed
        self._latest = -1, indices

    def _of_epoch(self, epoch: int, places: range) -> Tensor:
        latest, shuffled = self._latest  # read once: other threads may ask for other epochs meanwhile
        if epoch != latest:
            shuffle = torch.randperm(len(self.indices), generator=generator(self.seed, "epoch", epoch))
            shuffled = self.indices[shuffle]
            self._latest = epoch, shuffled
        return shuffled[places.start : places.stop]


class FormulaOrder(EpochOrder):
    """Every record once an epoch, by a permutation that is computed where it is asked for.

    Args:
        kept: the training records.
        seed: of the permutations.
    """

    def __init__(self, kept: KeptRecords, seed: int) -> None:
        super().__init__(len(kept))
        self.kept, self.seed = kept, seed

    def _of_epoch(self, epoch: int, places: range) -> Tensor:
        return self.kept[permuted(torch.tensor(places), self.length, "epoch", self.seed, epoch)]


class BucketedOrder:
    """Batches of one shape each, each shape as often as its weight says.

    Where a shape's records do not fill its last batch of an epoch, the shape's next epoch begins in it. The first turn
    is drawn: else a shape of few records would come as late with every seed.

    Args:
        buckets: the records of each shape, in an order of their own.
        weights: of each shape.
        batch_size: samples of a batch.
        seed: of the first turn.
    """

    of_batches = True

    def __init__(self, buckets: Sequence[DataOrder], weights: Sequence[Fraction], batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self._buckets = buckets
        self._turns = Turns(weights, int(torch.randint(LONGEST, (), generator=generator(seed, "turns"))))

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places, which lie within one batch."""
        batch, offset = divmod(positions.start, self.batch_size)
        who, nth = self._turns[torch.tensor([batch])]
        start = int(nth) * self.batch_size + offset
        return self._buckets[int(who)][range(start, start + len(positions))]
