"""Which records are trained on and which are held out; which places of their order each process takes."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from aaa.data.cached_records import CachedRecord, key_hash
from aaa.data.duplicates import of_earlier_version, picture_groups
from aaa.errors import UserError

logger = logging.getLogger(__name__)

FEW_COPIES = 0.1  # of the chosen records; a standard error over them is at most a twentieth too small


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
    records = list(records)  # each is looked at several times
    originals = [index for index, record in enumerate(records) if not record.flipped]
    groups = picture_groups(records)
    by_source = {groups[index] for index in originals if records[index].split == "validation"}
    decided = {groups[index] for index in originals if records[index].split is not None}
    undecided: dict[int, list[int]] = {}
    for index in originals:
        if groups[index] not in decided:
            undecided.setdefault(groups[index], []).append(index)
    drawn = _drawn(records, undecided, validation_fraction)
    held_out_groups = by_source | drawn
    held_out = [i for i in originals if groups[i] in held_out_groups and records[i].split != "train"]
    train = [index for index, group in enumerate(groups) if group not in held_out_groups]
    if of_earlier_version(records):
        held_out_keys = {records[index].key for index in held_out}
        train = [i for i in train if not (records[i].flipped and records[i].key in held_out_keys)]
    if not train:
        copies = sum(records[index].split != "validation" for index in originals)
        raise nothing_left(len(records), validation_fraction if drawn else None, copies)
    _say(records, undecided, [i for i in originals if groups[i] in by_source and records[i].split == "train"])
    return torch.tensor(train), torch.tensor(held_out, dtype=torch.long)


def nothing_left(records: int, drawn_fraction: float | None, copies: int) -> UserError:
    """What to say where no record is left to train on.

    Args:
        records: that there are.
        drawn_fraction: that some were drawn by to be held out; None if the source holds out all their pictures.
        copies: records, mirrored ones aside, that the source has not held out.
    """
    if drawn_fraction is not None:
        return UserError(f"data.validation_fraction={drawn_fraction} leaves none of {records} records to train on.")
    if not copies:
        return UserError(f"The data holds out all of its {records} records by itself: none is left to train on.")
    return UserError(
        f"All {copies} records to train on show pictures that the data holds out too, by a name such as val or test: "
        "none is left to train on. Hold out other pictures, or give each picture once: then data.validation_fraction "
        "of the records is held out."
    )


def _drawn(records: Sequence[CachedRecord], groups: dict[int, list[int]], validation_fraction: float) -> set[int]:
    """The groups to hold out: together as near to the fraction of their records as whole groups come, and at least one.

    Args:
        records: all there are.
        groups: those to choose from, with their records.
        validation_fraction: of their records.
    """

    def place(group: int) -> bytes:
        return min(key_hash(records[i].key) for i in groups[group])

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
            "%s that it holds out too, e.g. %s: such are not trained on, so that held out means never seen.",
            for_training(len(left_out)),
            ", ".join(records[index].key for index in left_out[:3]),
        )


def for_training(count: int) -> str:
    """How many records a source has for training, before what is said of their pictures."""
    if count == 1:
        return "1 record that its source has for training shows a picture"
    return f"{count} records that their source has for training show pictures"


def choose_pictures(records: Sequence[CachedRecord], held_out: Tensor, count: int) -> Tensor:
    """The held-out records with the smallest hashes of their keys, so many at most, one of each picture.

    A few copies among them do no harm; with these the choice stays what earlier versions made of the same data.
    """
    by_hash = sorted(held_out.tolist(), key=lambda index: key_hash(records[index].key))
    groups = dict(zip(by_hash, picture_groups([records[index] for index in by_hash]), strict=True))
    first = by_hash[:count]
    if len({groups[index] for index in first}) >= (1 - FEW_COPIES) * len(first):
        return torch.tensor(first)
    one_of_each: dict[int, int] = {}
    for index in by_hash:
        one_of_each.setdefault(groups[index], index)
    return torch.tensor(list(one_of_each.values())[:count])


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
