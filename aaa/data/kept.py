"""Which records of a large cache are kept, told by those that are not: no list of all is held."""

from collections.abc import Sequence

import torch
from torch import Tensor


class KeptRecords:
    """The records of some ranges but a few.

    The k-th that is kept has as many left-out ones before it as have no more than k kept ones before them.

    Args:
        ranges: of indices, in order, none of which overlap.
        left_out: indices that are not kept, sorted, `M` int64; those outside the ranges do not count.
    """

    def __init__(self, ranges: Sequence[range], left_out: Tensor) -> None:
        self._ranges, self._left_out = ranges, left_out
        self._starts = torch.tensor([part.start for part in ranges], dtype=torch.long)
        lengths = torch.tensor([len(part) for part in ranges], dtype=torch.long)
        self._ends = lengths.cumsum(0)  # among all records of the ranges, one after the other
        self._before = self._ends - lengths
        number = torch.searchsorted(self._starts, left_out, right=True) - 1
        offset = left_out - self._starts[number.clamp(min=0)]
        inside = (number >= 0) & (offset < lengths[number.clamp(min=0)])
        places = (self._before[number.clamp(min=0)] + offset)[inside]
        self._kept_before = places - torch.arange(len(places))
        self._left_out_places = places
        self._length = int(self._ends[-1]) - len(places)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, places: Tensor) -> Tensor:
        """Indices of the records at these places among those that are kept, `B` int64 each."""
        places = places + torch.searchsorted(self._kept_before, places, right=True)
        number = torch.searchsorted(self._ends, places, right=True)
        return places - self._before[number] + self._starts[number]

    def before(self, indices: Tensor) -> Tensor:
        """How many of them stand before these indices, int64 of the same shape."""
        number = (torch.searchsorted(self._starts, indices, right=True) - 1).clamp(min=0)
        lengths = self._ends - self._before
        places = self._before[number] + (indices - self._starts[number]).clamp(min=0).minimum(lengths[number])
        return places - torch.searchsorted(self._left_out_places, places)

    def without(self, indices: Tensor) -> "KeptRecords":
        """Those of them that are not among these, `M` int64 in any order."""
        return KeptRecords(self._ranges, torch.cat([self._left_out, indices]).unique())

    def moved(self, by: int) -> "KeptRecords":
        """The same where so many other records stand before them."""
        return KeptRecords([range(part.start + by, part.stop + by) for part in self._ranges], self._left_out + by)

    def within(self, ranges: Sequence[range]) -> "KeptRecords":
        """Those of them that lie in these ranges, each of which lies in one of its own or apart from all."""
        own = [part for part in ranges if any(part.start < of.stop and of.start < part.stop for of in self._ranges)]
        return KeptRecords(own or [range(0)], self._left_out)
