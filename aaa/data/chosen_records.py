"""Which records a condition on their columns or sizes chooses to be trained on.

Only what is trained on is chosen, after the split: runs with other conditions share their latent cache and are
validated on the same records, so that they can be compared.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aaa.config.condition import Condition, UnfitValue, column_called
from aaa.data.cache import LatentCache
from aaa.data.cached_records import CachedRecord
from aaa.data.column_values import ColumnValues
from aaa.data.endings import shown
from aaa.data.in_order import in_order
from aaa.data.kept import KeptRecords
from aaa.data.listed import listed
from aaa.data.picture_size import picture_size
from aaa.data.records import Record, Source
from aaa.encoders.prompts import normalised
from aaa.errors import UserError, nearest

logger = logging.getLogger(__name__)

SIZES = ("width", "height")  # of the picture, where no column is called so
PROMPT = "prompt"  # the first of the record, where no column is called so
AT_ONCE = 64
CHOSEN, LEFT_OUT, UNKNOWN = 1, 0, -1  # whether the condition holds of a record
BROKEN = -2  # of such a record nothing is asked, and no cache has it


@dataclass(frozen=True)
class Choice:
    """What a condition says of each record.

    Attributes:
        condition: that it is.
        of: each record one of `CHOSEN`, `LEFT_OUT`, `UNKNOWN` (it hangs on a missing value) and `BROKEN`, `N` int8.
        place: where that was said of a record.
    """

    condition: Condition
    of: Tensor
    place: Callable[[int], str]


def choice_of(condition: Condition, source: Source, values: ColumnValues, places: Sequence[int]) -> Choice:
    """What the condition says of the records of a source; of those that it holds out itself, and of
    those that are broken, nothing is asked.

    Args:
        condition: of names of columns, `width`, `height` and `prompt`.
        source: of all records.
        values: of these.
        places: numbers of the records that there are to choose from.

    Raises:
        UserError: if a name is none of these, a value is no number (text, truth) where it has to be, or it holds of no
            record.
    """
    columns = {name: _column(condition, name, values.columns) for name in condition.names}

    def asked(place: int) -> int | str:
        if values.is_broken(place):
            return BROKEN
        record = source[place]
        if record.split == "validation":
            return LEFT_OUT
        row = values.row(place)
        size: list[tuple[int, int] | None] = []

        def value(name: str) -> Any:
            if (column := columns[name]) is not None:
                found = row.get(column)
                return record.prompt if name == PROMPT and _has_caption(found, record.prompt) else found
            if name == PROMPT:
                return record.prompt
            if not size:
                size.append(_size(record, values, place))
            return None if size[0] is None else size[0][SIZES.index(name)]

        try:
            holds = condition(value)
        except UnfitValue as error:
            return f"{values.place(place)}: {error}"
        return UNKNOWN if holds is None else int(holds)

    found = list(in_order(asked, places, AT_ONCE))
    if unfit := [one for one in found if isinstance(one, str)]:
        raise UserError(
            f"{condition.key}={condition.text}: {len(unfit)} of {len(found)} records have values that it cannot be "
            f"asked of:\n  {listed(unfit)}\nMend them, or ask for something else first, as in "
            "'aesthetic != \"n/a\" and aesthetic > 5'."
        )
    of = torch.tensor([int(one) for one in found], dtype=torch.int8)

    def place(number: int) -> str:
        return values.place(places[number])

    # Where all are broken, encoding says why.
    if (whole := of != BROKEN).any() and not (of == CHOSEN).any():
        first = places[int(whole.int().argmax())]
        has = ", ".join(f"{name} {values.row(first).get(column)!r:.60}" for name, column in columns.items() if column)
        raise UserError(
            f"{condition.key}={condition.text}: holds of none of {int(whole.sum()):,} records"
            f"{_hanging(of == UNKNOWN, place)}. {values.place(first)}{f' has {has}' if has else ''}."
        )
    return Choice(condition, of, place)


def choice_by_prompt(condition: Condition, records: Sequence[CachedRecord]) -> Choice:
    """The same of a cache whose data set is not here: of its records only the prompts are known.

    Raises:
        UserError: if the condition asks for anything else.
    """
    if other := [name for name in condition.names if name != PROMPT]:
        raise UserError(
            f"{condition.key}={condition.text}: of a cache that is encoded already only `prompt` is known, and not "
            f"`{other[0]}`. With the data set itself there are its columns."
        )
    found = [_of_prompt(condition, record) for record in records]
    of = torch.tensor(found, dtype=torch.int8)
    return Choice(condition, of, lambda index: f"record {records[index].key!r}")


def _of_prompt(condition: Condition, record: CachedRecord) -> int:
    try:
        holds = condition(lambda _: record.prompt)
    except UnfitValue as error:
        raise UserError(f"{condition.key}={condition.text}: record {record.key!r}: {error}.") from None
    return UNKNOWN if holds is None else int(holds)


def in_cache(choice: Choice, source: Source, cache: LatentCache) -> Choice:
    """The choice for the records of the latent cache of a source.

    Of each shape it has them in the order of the source, and mirrored copies after them. Those that are broken or could
    not be read are not in it.

    Args:
        choice: of the records of the source.
        source: of the records.
        cache: of the source.
    """
    records, shapes = cache.records, cache.shape_ids[torch.arange(len(cache))].tolist()
    all_are_there = sum(not record.flipped for record in records) == len(source)

    def is_same(place: int, record: CachedRecord) -> bool:
        if choice.of[place] == BROKEN:
            return False
        of_source = source[place]  # several may have one key, where a table names a picture twice
        return of_source.key == record.key and (all_are_there or normalised(of_source.prompt) == record.prompt)

    places = torch.empty(len(records), dtype=torch.long)
    reached: dict[tuple[int, bool], int] = {}  # of each shape, and of its mirrored copies: the place after the last
    for index, (record, shape) in enumerate(zip(records, shapes, strict=True)):
        place = reached.get((shape, record.flipped), 0)
        while place < len(source) and not is_same(place, record):
            place += 1
        reached[shape, record.flipped] = place + 1
        if place == len(source):
            raise UserError(
                f"{choice.condition.key}: record {record.key!r} of the latent cache is not where the data set has it."
            )
        places[index] = place
    return Choice(choice.condition, choice.of[places], lambda index: choice.place(int(places[index])))


def choose(train: Tensor | KeptRecords, choice: Choice, key: str, start: int = 0) -> Tensor | KeptRecords:
    """Of the records to train on those that the condition chooses, with a line that says how many.

    Args:
        train: indices, or of a large cache what stands for them.
        choice: of the records of the cache.
        key: of the config, for messages.
        start: index of the first of these among those of several caches.

    Raises:
        UserError: if none are left.
    """
    indices = train if isinstance(train, Tensor) else train[torch.arange(len(train))]
    of = choice.of[indices - start]
    chosen = of == CHOSEN
    told = f"{key}={choice.condition.text}"
    hanging = _hanging(of == UNKNOWN, lambda number: choice.place(int(indices[number] - start)))
    if not chosen.any():
        raise UserError(
            f"{told}: holds of none of {len(of):,} training records{hanging}. Which are held out, and which "
            "data.max_records takes, is settled before."
        )
    logger.info("%s: %s of %s training records%s", told, f"{int(chosen.sum()):,}", f"{len(of):,}", hanging)
    return train[chosen] if isinstance(train, Tensor) else train.without(indices[~chosen])


def _hanging(unknown: Tensor, place: Callable[[int], str]) -> str:
    """How many records it is unknown of, `N` truths, and where the first of them is; nothing if there are none."""
    numbers = unknown.nonzero()
    if not len(numbers):
        return ""
    return f" (of {len(numbers):,} it hangs on a missing value, as in {place(int(numbers[0]))})"


def digest_of(chosen: Sequence[Tensor | KeptRecords]) -> str:
    """What tells these records of a cache, or of several, from others of it."""
    total = hashlib.sha256()
    for train in chosen:
        indices = train if isinstance(train, Tensor) else train[torch.arange(len(train))]
        total.update(indices.numpy().tobytes())
    return total.hexdigest()[:16]


def _has_caption(value: Any, prompt: str) -> bool:
    """Whether a value is a list of captions of which the prompt is one, so that it is where prompts are read from."""
    return isinstance(value, list) and prompt in [one.strip() for one in value if isinstance(one, str)]


def _size(record: Record, values: ColumnValues, place: int) -> tuple[int, int] | None:
    try:
        picture = values.picture(place)
        return record.load().size if picture is None else picture_size(picture)
    except UserError:  # encoding says what is wrong with it
        return None


def _column(condition: Condition, name: str, columns: Sequence[str]) -> str | None:
    """The column that a name means; None for what every record has.

    Raises:
        UserError: naming the columns that there are, if it means none or several.
    """
    found = column_called(name, columns)
    if not found and name in (*SIZES, PROMPT):
        return None
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{condition.key}={condition.text}: `{name}` may be {' or '.join(map(shown, found))}.")
    there = [*columns, *(own for own in (*SIZES, PROMPT) if own not in columns)]
    raise UserError(
        f"{condition.key}={condition.text}: there is no column `{name}`{nearest(name, there)}. "
        f"There is: {', '.join(map(shown, there))}."
    )
