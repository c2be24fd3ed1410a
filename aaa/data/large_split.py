"""Which records of a large cache are trained on and which are held out: each by its own place, all by one formula."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaa.data.cached_records import SPLITS
from aaa.data.kept import KeptRecords
from aaa.data.picture_places import FLIPPED, PlacedRecords
from aaa.data.split import for_training, nothing_left
from aaa.errors import UserError

logger = logging.getLogger(__name__)

CHUNK = 2**18  # records that are looked at together
TRAIN, VALIDATION = SPLITS.index("train"), SPLITS.index("validation")


class LargeSplit:
    """The rules of `split_records` for any number of records, of which only those that are held out are listed.

    The share that is held out is only about the fraction: each picture is drawn by itself. Adding records moves none of
    the old ones, and the choice is the same for every run and every seed, and at every resolution.

    Args:
        records: of the cache.
        validation_fraction: of the pictures of which the source does not say where they belong.

    Attributes:
        train: records to train on.
        held_out: indices of the others, mirrored copies and what is left out aside.

    Raises:
        UserError: if the fraction is not in 0..1, or nothing is left to train on.
    """

    def __init__(self, records: PlacedRecords, validation_fraction: float) -> None:
        if not 0 <= validation_fraction < 1:
            raise UserError(f"data.validation_fraction={validation_fraction}: must be at least 0 and less than 1.")
        self._records = records
        self._held_by_source = self._of_split(VALIDATION)
        below = np.uint64(validation_fraction * 2**64)
        aside, held_out = self._divide(below)
        if validation_fraction and not len(held_out) and (least := self._least_undecided()) is not None:
            aside, held_out = self._divide(least + np.uint64(1))
        self.train = KeptRecords([range(len(records))], torch.from_numpy(aside))
        self.held_out: Tensor = torch.from_numpy(held_out)
        if not len(self.train):
            raise self._nothing_left(validation_fraction)

    def _nothing_left(self, validation_fraction: float) -> UserError:
        drawn = copies = 0
        for _, places, splits, original in self._chunks():
            drawn += int((~_among(places, self._held_by_source)).sum())
            copies += int((original & (splits != VALIDATION)).sum())
        return nothing_left(len(self._records), validation_fraction if drawn else None, copies)

    def _chunks(self) -> Iterator[tuple[int, Any, Any, Any]]:
        """Indices, places, splits, and which are originals."""
        for start in range(0, len(self._records), CHUNK):
            sides = self._records.sides[start : start + CHUNK]
            yield start, self._records.places[start : start + CHUNK], sides % FLIPPED, sides < FLIPPED

    def _of_split(self, split: int, below: Any = None) -> Any:
        """Sorted places of the pictures that the source puts there; only those below, if that is given."""
        found = []
        for _, places, splits, original in self._chunks():
            chosen = places[(splits == split) & original]
            found.append(chosen if below is None else chosen[chosen < below])
        return np.unique(np.concatenate(found))

    def _divide(self, below: Any) -> tuple[Any, Any]:
        """Indices that are not trained on, and those of them that are held out."""
        trained_by_source = self._of_split(TRAIN, below)
        aside, held_out, left_out = [], [], 0
        for start, places, splits, original in self._chunks():
            by_source = _among(places, self._held_by_source)
            held = by_source | ((places < below) & ~_among(places, trained_by_source))
            aside.append(start + np.flatnonzero(held))
            held_out.append(start + np.flatnonzero(held & original & (splits != TRAIN)))
            left_out += int((by_source & original & (splits == TRAIN)).sum())
        if left_out:
            logger.warning(
                "%s that it holds out too: such are not trained on, so that held out means never seen.",
                for_training(left_out),
            )
        return np.concatenate(aside), np.concatenate(held_out)

    def _least_undecided(self) -> Any:
        trained = self._of_split(TRAIN)
        least = None
        for _, places, splits, original in self._chunks():
            free = places[(splits == 0) & original]
            free = free[~_among(free, trained) & ~_among(free, self._held_by_source)]
            if len(free) and (least is None or free.min() < least):
                least = free.min()
        return least


def first_of_pictures(indices: Tensor, places: Any, count: int) -> Tensor:
    """Of these records those whose pictures stand first, one of each picture, at most so many.

    Args:
        indices: `M` int64.
        places: of all records, `N` uint64.
        count: how many.
    """
    _, first = np.unique(places[indices.numpy()], return_index=True)
    return indices[torch.from_numpy(first[:count])]


def _among(places: Any, these: Sequence[Any]) -> Any:
    """Whether each place is one of these, which are sorted."""
    if not len(these):
        return np.zeros(len(places), bool)
    found = np.searchsorted(these, places).clip(max=len(these) - 1)
    return np.take(these, found) == places
