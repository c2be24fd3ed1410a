"""Drawn pictures and the data's, in batches, before somebody else's network; processes share the looking out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aaa.data.records import Split
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.reference import ORIGINAL
from aaa.evaluation.source_pictures import OriginalsGone

T = TypeVar("T")

BATCH_SIZE = 32


def by_size(pictures: Sequence[Image.Image], look: Callable[[Sequence[Image.Image]], Tensor]) -> Tensor:
    """What a network says of each, `N ...`: those of one size together, as it brings whole batches to its own size."""
    found: dict[int, Tensor] = {}
    for size in dict.fromkeys(picture.size for picture in pictures):
        places = [place for place, picture in enumerate(pictures) if picture.size == size]
        found |= zip(places, look([pictures[place] for place in places]), strict=True)
    return torch.stack([found[place] for place in range(len(pictures))])


def in_batches(evaluated: EvaluatedModel, items: Sequence[T], look: Callable[[Sequence[T]], Tensor]) -> Tensor:
    """What a network says of each, `N ...`; which are in a batch together is the same for any number of processes."""
    batches = [items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE)]

    def tried(batch: Sequence[T]) -> Tensor | OriginalsGone:
        try:
            return look(batch).cpu()
        except OriginalsGone as gone:  # told to all processes, as none waits for one that has given up
            return gone

    found = evaluated.each(batches, lambda some: [tried(batch) for batch in some], 1)
    for gone in found:
        if isinstance(gone, OriginalsGone):
            raise gone
    return torch.cat([one for one in found if isinstance(one, Tensor)]).to(evaluated.drawer.device)


def records_to_compare(evaluated: EvaluatedModel, split: Split, count: int, reference: str) -> list[int]:
    """Records of the cache whose pictures drawn ones are compared with: of originals those that are not mirrored."""
    choose = evaluated.real_originals if reference == ORIGINAL else evaluated.real
    return choose(split, count).records.tolist()


def data_pictures(evaluated: EvaluatedModel, records: Sequence[int], reference: str) -> list[Image.Image]:
    """Of records of the cache, as the VAE decodes them or as they are in the data set."""
    if reference == ORIGINAL:
        return evaluated.source_pictures.read(records)
    return [evaluated.picture(one) for one in records]


def require_originals(evaluated: EvaluatedModel, split: Split) -> None:
    """Read a picture as it is in the data set, before any is drawn.

    Raises:
        OriginalsGone: if that cannot be.
    """
    evaluated.source_pictures.read(evaluated.real_originals(split, 1).records.tolist())


def as_bytes(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as `B 3 H W` of bytes."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
