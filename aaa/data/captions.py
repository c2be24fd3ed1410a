"""Which columns of a row are the prompt: one of them, or several to draw from."""

from collections.abc import Mapping, Sequence
from typing import Any

from aaa.errors import UserError

Columns = str | Sequence[str] | Mapping[str, float]


class Captions:
    """The caption columns of a data set.

    Args:
        columns: a name, several names that are drawn from equally often, or names with weights.
        key: of the config, for messages.

    Raises:
        UserError: if a weight is not above 0, or there is no column.
    """

    def __init__(self, columns: Columns, key: str = "data.prompt_column") -> None:
        if isinstance(columns, str):
            columns = [columns]
        if not isinstance(columns, Mapping):
            columns = dict.fromkeys(columns, 1.0)
        if not columns or not all(isinstance(weight, int | float) and weight > 0 for weight in columns.values()):
            raise UserError(
                f"{key}={dict(columns)}: must be a column, a list of columns, or columns with weights above 0."
            )
        self.key = key
        self.weights = {str(column): float(weight) for column, weight in columns.items()}

    def require_any(self, present: Sequence[str], where: str) -> None:
        """Refuse a table that has none of the columns.

        Raises:
            UserError: naming the columns that there are.
        """
        if not any(column in present for column in self.weights):
            wanted = " or ".join(map(repr, self.weights))
            raise UserError(
                f"{where}: no column {wanted}; there is: {', '.join(present) or 'none'}. Set {self.key}=NAME."
            )

    def of(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Prompts of a row and how often each is drawn, the first one first. Empty captions give way to others.

        Raises:
            UserError: if the row has none of the columns, or one that is not text.
        """
        found: dict[str, float] = {}
        present = False
        for column, weight in self.weights.items():
            if column not in values:
                continue
            present = True
            caption = values[column]
            if caption is not None and not isinstance(caption, str):
                raise UserError(f"column {column!r} is not text but {type(caption).__name__}")
            if caption:
                found[caption] = found.get(caption, 0.0) + weight
        if not present:
            raise UserError(f"no column {' or '.join(map(repr, self.weights))} in this row")
        return found or {"": 1.0}
