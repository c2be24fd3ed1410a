"""Which records are trained on and which are held out for validation, and in which order the former come."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from aaa.data.cache import CachedRecord
from aaa.data.duplicates import of_earlier_version, picture_groups
from aaa.data.randomness import generator
from aaa.errors import UserError

logger = logging.getLogger(__name__)


def split_records(records: Sequence[CachedRecord], validation_fraction: float) -> tuple[Tensor, Tensor]:
    """Indices of training and of validation records; no picture is on both sides, mirrored copies included.

    Records whose source says where they belong go there, but one to train on whose picture is held out too is left
    out, with a warning. Of the other pictures about the `validation_fraction` of the records is held out, those with
    the smallest hashes of their keys, so that the choice is the same for every run and every seed, and adding records
    moves few of the old ones.

    Raises:
        UserError: if the fraction is not in 0..1, or nothing is left to train on.
    """
    if not 0 <= validation_fraction < 1:
        raise UserError(f"data.validation_fraction={validation_fraction}: must be at least 0 and less than 1.")
    originals = [index for index, record in enumerate(records) if not record.flipped]
    groups = picture_groups(records)
    by_source = {groups[index] for index in originals if records[index].split == "validation"}
    decided = {groups[index] for index in originals if records[index].split is not None}
    undecided: dict[int, list[int]] = {}
    for index in originals:
        if groups[index] not in decided:
            undecided.setdefault(groups[index], []).append(index)
    held_out_groups = by_source | _drawn(records, undecided, validation_fraction)
    held_out = [i for i in originals if groups[i] in held_out_groups and records[i].split != "train"]
    train = [index for index, group in enumerate(groups) if group not in held_out_groups]
    if of_earlier_version(records):
        held_out_keys = {records[index].key for index in held_out}
        train = [i for i in train if not (records[i].flipped and records[i].key in held_out_keys)]
    if not train:
        raise UserError(
            f"data.validation_fraction={validation_fraction} leaves none of {len(records)} records to train on."
        )
    _say(records, undecided, [i for i in originals if groups[i] in by_source and records[i].split == "train"])
    return torch.tensor(train), torch.tensor(held_out, dtype=torch.long)


def _drawn(records: Sequence[CachedRecord], groups: dict[int, list[int]], validation_fraction: float) -> set[int]:
    """The groups to hold out: together as near to the fraction of their records as whole groups come, and at least one.

    Args:
        records: all there are.
        groups: those to choose from, with their records.
        validation_fraction: of their records.
    """

    def place(group: int) -> bytes:
        return min(hashlib.sha256(records[i].key.encode("utf-8", "surrogatepass")).digest() for i in groups[group])

    if not validation_fraction or len(groups) < 2:
        return set()
    in_order = sorted(groups, key=place)
    wanted = round(validation_fraction * sum(len(rows) for rows in groups.values()))
    drawn: set[int] = set()
    count = 0
    for group in in_order:
        if count >= wanted:
            break
        if count + len(groups[group]) / 2 <= wanted:
            drawn.add(group)
            count += len(groups[group])
    return drawn or {min(in_order, key=lambda group: len(groups[group]))}


def _say(records: Sequence[CachedRecord], drawn_from: dict[int, list[int]], left_out: list[int]) -> None:
    together = [rows for rows in drawn_from.values() if len(rows) > 1]
    if together:
        logger.info(
            "%d records show a picture that another record shows too, mirrored or not, e.g. %s: %d such pictures, each "
            "wholly trained on or wholly held out.",
            sum(map(len, together)),
            " and ".join(records[index].key for index in together[0][:2]),
            len(together),
        )
    if left_out:
        logger.warning(
            "%d records that their source has for training show pictures that it holds out too, e.g. %s: they are not "
            "trained on, so that held out means never seen.",
            len(left_out),
            ", ".join(records[index].key for index in left_out[:3]),
        )


def micro_batch(step: int, micro: int, rank: int, *, batch_size: int, micro_batches: int, processes: int) -> range:
    """Positions in the data order of one process's micro-batch.

    A step takes up `batch_size` positions, whoever shares them, so that a run may go on with other processes.

    Args:
        step: optimizer step, from 0.
        micro: number of the micro-batch within the step.
        rank: of the process.
        batch_size: samples of the whole step.
        micro_batches: of a step.
        processes: that share it.
    """
    share = batch_size // (processes * micro_batches)
    first = step * batch_size + (micro * processes + rank) * share
    return range(first, first + share)


class DataOrder(Protocol):
    """The endless sequence of records that training visits, epoch after epoch."""

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places."""
        ...


def data_order(indices: Tensor, shape_ids: Tensor, batch_size: int, seed: int) -> DataOrder:
    """Records in an order that is reshuffled every epoch, the same for the same seed.

    Args:
        indices: of the training records.
        shape_ids: which shape of latents each record of the cache has; a batch is of one shape.
        batch_size: samples of an optimizer step, which start at multiples of it.
        seed: of the shuffles.
    """
    if shape_ids[indices].unique().numel() == 1:
        return ShuffledOrder(indices, seed)
    return BucketedOrder(indices, shape_ids, batch_size, seed)


class ShuffledOrder:
    """Every record once an epoch.

    Args:
        indices: of the training records.
        seed: of the shuffles.
    """

    def __init__(self, indices: Tensor, seed: int) -> None:
        self.indices, self.seed = indices, seed
        self._epoch, self._shuffled = -1, indices

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places."""
        length = len(self.indices)
        picked = []
        start = positions.start
        while start < positions.stop:
            epoch, offset = divmod(start, length)
            taken = min(length - offset, positions.stop - start)
            picked.append(self._epoch_order(epoch)[offset : offset + taken])
            start += taken
        return torch.cat(picked)

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            shuffle = torch.randperm(len(self.indices), generator=generator(self.seed, "epoch", epoch))
            self._epoch, self._shuffled = epoch, self.indices[shuffle]
        return self._shuffled


class BucketedOrder:
    """Batches of one shape each, in random order.

    Where a shape's records do not fill its last batch of an epoch, the shape's next epoch begins in it: records of
    one shape come equally often, those of a shape with few records a little more often than others.

    Args:
        indices: of the training records.
        shape_ids: of all records.
        batch_size: samples of a batch.
        seed: of the shuffles.
    """

    def __init__(self, indices: Tensor, shape_ids: Tensor, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
        ids = shape_ids[indices]
        self._buckets = [ShuffledOrder(indices[ids == shape], seed) for shape in ids.unique().tolist()]
        batches = [-(-len(bucket.indices) // batch_size) for bucket in self._buckets]
        self._bucket_of_batch = torch.arange(len(batches)).repeat_interleave(torch.tensor(batches))
        self._number_of_batch = torch.cat([torch.arange(count) for count in batches])
        self._batches = batches
        self._epoch, self._shuffle = -1, self._bucket_of_batch

    def __getitem__(self, positions: range) -> Tensor:
        """Indices of the records at these places, which lie within one batch."""
        batch, offset = divmod(positions.start, self.batch_size)
        epoch, place = divmod(batch, len(self._bucket_of_batch))
        if epoch != self._epoch:
            draws = generator(self.seed, "batches", epoch)
            self._epoch, self._shuffle = epoch, torch.randperm(len(self._bucket_of_batch), generator=draws)
        chosen = self._shuffle[place]
        bucket = int(self._bucket_of_batch[chosen])
        number = epoch * self._batches[bucket] + int(self._number_of_batch[chosen])
        start = number * self.batch_size + offset
        return self._buckets[bucket][range(start, start + len(positions))]
