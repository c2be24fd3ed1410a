"""Where each record of a large cache stands between 0 and 1: those below a fraction are held out, and none are listed.

Records of one picture stand at one place, so that none of them is trained on where another is held out. It is made
from the smallest hash of their keys, and not from the picture, which is another one at another resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aaa.data.cached_records import RecordRows
from aaa.data.permutation import mixed

PLACES, SIDES = "places.npy", "sides.npy"
FLIPPED = 4  # added to the number of a split: a mirrored copy


@dataclass(frozen=True)
class PlacedRecords:
    """The records of a large cache, by which it is split and ordered by formula.

    Attributes:
        places: of each, `N` uint64, 2**64 being 1.
        sides: the number of each one's split (`SPLITS`), and whether it is a mirrored copy, `N` uint8.
    """

    places: Any
    sides: Any

    @classmethod
    def of(cls, batches: Sequence[RecordRows]) -> "PlacedRecords":
        """The records in these batches."""
        sides = [batch.splits + np.uint8(FLIPPED) * batch.flipped for batch in batches]
        return cls(picture_places(batches), np.concatenate(sides))

    @classmethod
    def open(cls, folder: Path) -> "PlacedRecords":
        """Those that were saved in a folder, mapped into memory.

        Raises:
            OSError, ValueError: if a file is not there or not whole.
        """
        return cls(*(np.load(folder / name, mmap_mode="r") for name in (PLACES, SIDES)))

    def save(self, folder: Path) -> None:
        """Write them down."""
        np.save(folder / PLACES, self.places)
        np.save(folder / SIDES, self.sides)

    def __len__(self) -> int:
        return len(self.places)


def picture_places(batches: Sequence[RecordRows]) -> Any:
    """The places of all records in these batches, `N` uint64."""
    hashes = np.concatenate([batch.key_hashes for batch in batches])
    digests = np.concatenate([batch.picture_digests()[:, :8].copy().view(np.uint64)[:, 0] for batch in batches])
    pictures = np.where(digests == 0, hashes, digests)
    order = np.argsort(pictures, kind="stable")
    begins = np.flatnonzero(np.diff(pictures[order], prepend=pictures[order[0]] ^ np.uint64(1)))
    smallest = np.minimum.reduceat(hashes[order], begins)
    places = np.empty_like(hashes)
    # The smallest of many hashes is small: mixed, a picture with many captions is held out as seldom as others.
    places[order] = np.repeat(mixed(smallest), np.diff(begins, append=len(order)))
    return places
