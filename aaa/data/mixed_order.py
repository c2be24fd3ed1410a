"""The order of several data sets mixed by weight: whose turn each place is, and which of its records, all by formula.

Each data set goes through its own records without repeating any before all were seen, as if it were alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from aaa.data.grouped_order import ShardGroups, orders_by_shape
from aaa.data.kept import KeptRecords
from aaa.data.order import BucketedOrder, DataOrder, EpochOrder, ShapeRanges
from aaa.data.randomness import generator
from aaa.data.turns import Turns


@dataclass(frozen=True)
class MixedPart:
    """One of the data sets that are mixed.

    Attributes:
        name: of it.
        weight: how often it is drawn, relative to the others.
        train: records to train on, as indices into the cache of all; of a large part they are not listed.
        held_out: indices of the others.
        groups: what a disk holds at once of a part that lies elsewhere; None: all of it.
    """

    name: str
    weight: float
    train: Tensor | KeptRecords
    held_out: Tensor
    groups: ShardGroups | None = None


@dataclass(frozen=True)
class MixedRecords:
    """The records that are trained on, of all parts.

    Attributes:
        parts: that are mixed.
    """

    parts: Sequence[MixedPart]

    def __len__(self) -> int:
        return sum(len(part.train) for part in self.parts)


def mixed_order(records: MixedRecords, shape_ids: ShapeRanges, batch_size: int, seed: int) -> DataOrder:
    """Records of all parts, mixed by their weights.

    Where latents are of several shapes, a batch is of one: shapes take turns by batches, each as often as all parts
    together want it, and within those of a shape parts take turns by samples. A part wants each of its shapes as often
    as it has records of it, so that its own records come equally often.

    Args:
        records: of the parts.
        shape_ids: which shape of latents each record of the cache has.
        batch_size: samples of an optimizer step, which start at multiples of it.
        seed: of each part's order.
    """
    claims: dict[int, list[tuple[EpochOrder, Fraction]]] = {}
    for part in records.parts:
        if not part.weight:
            continue
        own = generator(seed, "part", part.name).initial_seed()  # parts with as many records are not shuffled alike
        for shape, order in orders_by_shape(part.train, part.groups, shape_ids, own).items():
            wanted = Fraction(str(part.weight)) * Fraction(order.length, len(part.train))
            claims.setdefault(shape, []).append((order, wanted))
    of_shapes = {shape: PartsByTurns(claims[shape]) for shape in sorted(claims)}
    if len(of_shapes) == 1:
        return next(iter(of_shapes.values()))
    wanted_of = {shape: sum((wanted for _, wanted in claims[shape]), Fraction(0)) for shape in of_shapes}
    return BucketedOrder([*of_shapes.values()], [wanted_of[shape] for shape in of_shapes], batch_size, seed)


class PartsByTurns:
    """Samples of several orders, each as often as its weight says.

    Args:
        orders: with their weights.
    """

    of_batches = False

    def __init__(self, orders: Sequence[tuple[EpochOrder, Fraction]]) -> None:
        self._orders = [order for order, _ in orders]
        self._turns = Turns([weight for _, weight in orders])

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places."""
        who, nth = self._turns[torch.tensor(positions)]
        indices = torch.empty_like(nth)
        for number in who.unique().tolist():
            own = who == number
            places = nth[own]  # one after the other
            indices[own] = self._orders[number][range(int(places[0]), int(places[-1]) + 1)]
        return indices
