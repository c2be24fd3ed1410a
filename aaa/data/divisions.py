"""The ways in which a data set may say which of its records are held out, and the one that counts."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aaa.data.endings import shown
from aaa.data.records import Split
from aaa.data.split_names import Named, part_of, settle_splits, split_folders, split_of_name, split_of_word

logger = logging.getLogger(__name__)

COLUMN = "split"
NONE = "(none)"


class Division(NamedTuple):
    """Records in parts.

    Attributes:
        what: a plural for the parts, for messages.
        parts: of each record.
        named: what each part's name says of it.
    """

    what: str
    parts: Sequence[str]
    named: Mapping[str, Named]

    @property
    def decides(self) -> bool:
        """Whether some parts are held out by their names, and some are not."""
        held_out = [split == "validation" for split in self.named.values()]
        return any(held_out) and not all(held_out)


def settle(divisions: Iterable[Division], where: object) -> list[Split | None]:
    """Where each record belongs, by the first division that decides it; if none does, by `data.validation_fraction`.

    Args:
        divisions: of the same records, at least one, what counts most first; those after the one that decides are
            not looked at.
        where: the data set, for messages.
    """
    tried: list[Division] = []
    for division in divisions:
        tried.append(division)
        if division.decides:
            break
    chosen = tried[-1] if tried[-1].decides else tried[0]
    settled = settle_splits(chosen.named, where, chosen.what)
    return [settled[part] for part in chosen.parts]


def by_name(names: Sequence[str], what: str) -> Division:
    """By names that have the word anywhere: of splits, or of shards."""
    return Division(what, names, {name: split_of_name(name) for name in dict.fromkeys(names)})


def by_folder(files: Sequence[str]) -> Division:
    """By the folders that files lie in."""
    files = [file.replace("\\", "/") for file in files]  # what some programs unpack of a zip that Windows made
    folders = split_folders(files)
    parts = [part_of(file, folders) for file in files] if folders else [NONE] * len(files)
    return Division("folders", parts, {part: folders.get(part, "unknown") for part in dict.fromkeys(parts)})


def by_beginning(files: Sequence[str]) -> Division:
    """By what the files' own names begin with, where all do so: `train_001.png`, `test_001.png`."""
    words = [re.match(r"[A-Za-z]*", file.rpartition("/")[2]) for file in files]
    parts = [word[0] if word else "" for word in words]
    named = {part: split_of_word(part) for part in dict.fromkeys(parts)}
    if "unknown" in named.values():
        parts, named = [NONE] * len(files), {NONE: "unknown"}
    return Division("names that begin with", parts, named)


def by_column(values: Sequence[str | None], where: object) -> Division:
    """By the values of a column; one that does not say what is held out is told."""
    parts = [value or NONE for value in values]
    named = {part: split_of_word(part) for part in dict.fromkeys(parts)}
    said = [part for part in named if part != NONE]
    if len(said) > 1 and all(named[part] == "unknown" for part in said):
        logger.warning(
            "%s: the values of the column %s (%s) do not say what is held out; train, val, test and the like would.",
            where,
            COLUMN,
            ", ".join(map(shown, said[:5])),
        )
    return Division(f"the values of the column {COLUMN}", parts, named)


def split_column(present: Iterable[str], rows: Iterable[Mapping[str, Any]], taken: Iterable[str] = ()) -> str | None:
    """The column that divides the rows: the one called `split`, else one whose values are all names of splits.

    Args:
        present: columns that there are.
        rows: their values.
        taken: columns that are something else.
    """
    present = list(present)
    called = next((column for column in present if column.strip().lower() == COLUMN), None)
    if called is not None:
        return called
    candidates = {column: Counter[Named]() for column in present if column not in set(taken)}
    for row in rows:
        for column in list(candidates):
            if (value := split_value(row.get(column))) is not None:
                candidates[column][split_of_word(value)] += 1
                if candidates[column]["unknown"]:
                    del candidates[column]
        if not candidates:
            return None
    return next((column for column, found in candidates.items() if len(found) == 2), None)


def split_value(value: Any) -> str | None:
    """The value of such a column as text; None where there is none."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return str(value) if value not in (None, "") else None
