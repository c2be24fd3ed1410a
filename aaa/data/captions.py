"""Which columns of a row are the prompt: one of them, or several to draw from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aaa.data.columns import PROMPT_COLUMNS, column_of, missing
from aaa.errors import UserError

Columns = str | Sequence[str] | Mapping[str, float]


class Captions:
    """The caption columns of a data set.

    Args:
        columns: a name, several names that are drawn from equally often, or names with weights; None for the first
            of `usual` that there is.
        key: of the config, for messages.
        usual: names that are looked for where the config names none.

    Raises:
        UserError: if a weight is not above 0, or there is no column.
    """

    def __init__(
        self, columns: Columns | None, key: str = "data.prompt_column", usual: Sequence[str] = PROMPT_COLUMNS
    ) -> None:
        self.key, self.usual = key, usual
        self.weights: dict[str, float] = {}
        if columns is None:
            return
        if isinstance(columns, str):
            columns = [columns]
        if not isinstance(columns, Mapping):
            columns = dict.fromkeys(columns, 1.0)
        if not columns or not all(isinstance(weight, int | float) and weight > 0 for weight in columns.values()):
            raise UserError(
                f"{key}={dict(columns)}: must be a column, a list of columns, or columns with weights above 0."
            )
        self.weights = {str(column): float(weight) for column, weight in columns.items()}

    def settle(self, present: Sequence[str], where: str) -> None:
        """Settle which columns are read, and refuse a table that lacks one of them: it would go unread in silence.

        Raises:
            UserError: naming the columns that there are.
        """
        if not self.weights:
            self.weights = {column_of(None, present, where, self.key, self.usual): 1.0}
        if absent := [column for column in self.weights if column not in present]:
            raise UserError(missing(" or ".join(map(repr, absent)), present, where, self.key, absent))

    def of(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Prompts of a row and how often each is drawn, the first one first. Empty captions give way to others.

        A column may hold a list of captions, which share its weight.

        Raises:
            UserError: if the row has none of the columns, or one that is not text.
        """
        found: dict[str, float] = {}
        present = False
        for column, weight in self.weights.items():
            if column not in values:
                continue
            present = True
            captions = _texts(column, values[column])
            for caption in captions:
                found[caption] = found.get(caption, 0.0) + weight / len(captions)
        if not present:
            raise UserError(f"no column {' or '.join(map(repr, self.weights))} in this row")
        return found or {"": 1.0}


def _texts(column: str, value: Any) -> list[str]:
    """The captions in a value that are not empty, without the blanks around them."""
    values = [one for one in (value if isinstance(value, list) else [value]) if not _is_missing(one)]
    for one in values:
        if not isinstance(one, str):
            inside = " in a list" if isinstance(value, list) else ""
            raise UserError(f"column {column!r} is not text but {type(one).__name__}{inside}")
    return [caption for one in values if (caption := one.strip())]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))  # pandas has NaN where there is nothing
