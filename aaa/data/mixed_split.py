"""Which records of several data sets are trained on and which are held out: each is split as if it were alone."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from aaa.config.mixture import COMMON
from aaa.data.cache import LatentCache
from aaa.data.cached_records import SPLITS
from aaa.data.held_out_elsewhere import seen_nowhere_else
from aaa.data.kept import KeptRecords
from aaa.data.large_split import LargeSplit
from aaa.data.mixed_cache import MixedCache
from aaa.data.mixed_order import MixedPart, MixedRecords
from aaa.data.picture_places import FLIPPED
from aaa.data.split import split_records
from aaa.errors import UserError

logger = logging.getLogger(__name__)

# Keys of the data that a message tells to set; of a mixture these are said for all parts together.
OF_PART = re.compile(rf"(?<![\w.])data\.(?!(?:parts|{'|'.join(COMMON)})\b)(?=\w)")


@contextmanager
def naming_part(name: str) -> Iterator[None]:
    """A block whose errors name the keys of a part as they are typed: `data.root` is `data.parts.NAME.root`."""
    try:
        yield
    except UserError as error:
        raise UserError(OF_PART.sub(f"data.parts.{name}.", str(error))) from None


def split_cache(cache: LatentCache, validation_fraction: float) -> tuple[Tensor | KeptRecords, Tensor]:
    """Indices of the records of a cache to train on, and of those that are held out.

    Raises:
        UserError: if the fraction is not in 0..1, or nothing is left to train on.
    """
    if cache.placed is None:
        return split_records(cache.records, validation_fraction)
    split = LargeSplit(cache.placed, validation_fraction)
    return split.train, split.held_out


def split_mixture(
    cache: MixedCache, weights: Mapping[str, float], validation_fractions: Mapping[str, float]
) -> MixedRecords:
    """The records of a mixture, as indices into the cache of all its parts.

    Args:
        cache: of the mixture.
        weights: how often each part is drawn, relative to the others.
        validation_fractions: of each part; 1 only of one without weight.

    Raises:
        UserError: as `split_cache` does, for each part.
    """
    split = {
        name: _split_part(name, part, validation_fractions[name])
        if weights[name]
        else _split_unseen(name, part, validation_fractions[name])
        for name, part in cache.parts.items()
    }
    held_out = {name: of_part for name, (_, of_part) in split.items()}
    records = {name: part.records for name, part in cache.parts.items()}
    drawn = {name: of_part for name, (of_part, _) in split.items() if weights[name]}
    train = seen_nowhere_else(records, drawn, held_out)
    parts = []
    for name, span in cache.spans.items():
        own, by = train.get(name, torch.empty(0, dtype=torch.long)), span.start
        moved = own.moved(by) if isinstance(own, KeptRecords) else own + by
        groups = cache.parts[name].groups
        parts.append(
            MixedPart(name, weights[name], moved, held_out[name] + by, None if groups is None else groups.moved(by))
        )
    return MixedRecords(parts)


def _split_part(name: str, cache: LatentCache, validation_fraction: float) -> tuple[Tensor | KeptRecords, Tensor]:
    with naming_part(name):
        return split_cache(cache, validation_fraction)


def _holds_out_all(cache: LatentCache) -> bool:
    """Whether the data set itself says of every record that it is for validation, as the validation split of COCO."""
    return all(record.split == "validation" for record in cache.records)


def _split_unseen(name: str, cache: LatentCache, validation_fraction: float) -> tuple[Tensor | KeptRecords, Tensor]:
    """The records of a part that is never trained on: all are held out where the fraction or the data set says so."""
    train: Tensor | KeptRecords = torch.empty(0, dtype=torch.long)
    if validation_fraction == 1 or _holds_out_all(cache):
        held_out = _all_held_out(cache)
    else:
        train, held_out = _split_part(name, cache, validation_fraction)
    logger.info(
        "data.parts.%s.weight=0: none of it is trained on. Held out, to judge by: %d%s",
        name,
        len(held_out),
        f"; all with data.parts.{name}.validation_fraction=1" if len(train) else "",
    )
    return train, held_out


def _all_held_out(cache: LatentCache) -> Tensor:
    """All records but mirrored copies and those that the data set itself has for training."""
    if cache.placed is not None:
        sides = np.asarray(cache.placed.sides)
        return torch.from_numpy(np.flatnonzero((sides < FLIPPED) & (sides != SPLITS.index("train"))))
    chosen = [i for i, record in enumerate(cache.records) if not record.flipped and record.split != "train"]
    return torch.tensor(chosen, dtype=torch.long)


def in_turn(parts: Sequence[Tensor]) -> Tensor:
    """Records of all parts, one of each in turn as long as it has any, so that the first few are of all."""
    places = torch.cat([torch.arange(len(part)) for part in parts])
    return torch.cat([*parts])[places.argsort(stable=True)]
