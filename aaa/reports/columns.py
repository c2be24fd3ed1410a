"""Which columns a terminal has room for: a number is whole or not there."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

EDGE, BETWEEN = 1, 3  # letters that a table's frame takes, at its end and at each column
LONGEST_WORD = 20  # letters of a text; what is longer, as no number is, goes on in the next line


@dataclass(frozen=True)
class Column:
    """A column of a table, before it is known whether there is room for it.

    Attributes:
        title: above it.
        cells: of each row.
        has_numbers: rather than texts.
    """

    title: str
    cells: Sequence[Text]
    has_numbers: bool = False

    @property
    def widest(self) -> int:
        """Letters that it takes if no line in it is broken."""
        return max(cell_len(line) for text in self._texts for line in text.split("\n"))

    @property
    def narrowest(self) -> int:
        """Letters that it takes at least: lines may be broken between words, and within long ones."""
        longest = max(cell_len(word) for text in self._texts for word in re.split(r"[ \n]", text))
        return longest if self.has_numbers else min(longest, LONGEST_WORD)

    @property
    def _texts(self) -> list[str]:
        return [self.title, *(text.plain for text in self.cells)]


def needed(columns: Iterable[Column]) -> int:
    """Letters that a table of these columns takes if nothing in it is broken."""
    return EDGE + sum(column.widest + BETWEEN for column in columns)


def fill(table: Table, columns: Sequence[Column], width: int | None, always: int) -> list[str]:
    """Put those columns into a table that there is room for.

    Args:
        table: without columns.
        columns: most important first.
        width: letters that there is room for; None for any number of them.
        always: how many of them, the first ones, are there in any case.

    Returns:
        The titles of the others.
    """
    room = (needed(columns) if width is None else width) - EDGE
    widths: dict[int, int] = {}
    for place, column in enumerate(columns):
        if place < always or column.narrowest + BETWEEN <= room:
            widths[place] = column.narrowest
            room -= column.narrowest + BETWEEN
    for place in sorted(widths, key=lambda place: not columns[place].has_numbers):  # texts can be read when broken
        more = min(columns[place].widest - widths[place], max(room, 0))
        widths[place] += more
        room -= more
    shown = {place: column for place, column in enumerate(columns) if place in widths}
    for place, column in shown.items():
        table.add_column(
            escape(column.title),
            width=widths[place],
            justify="right" if column.has_numbers else "left",
            overflow="fold",
        )
    for row in zip(*(column.cells for column in shown.values()), strict=True):
        table.add_row(*row)
    return [column.title for place, column in enumerate(columns) if place not in shown]


def caption(
    lines: Iterable[str], absent: Sequence[str], elsewhere: str = "--csv FILE, the page or a wider terminal"
) -> Text:
    """What stands below a table.

    Args:
        lines: of it.
        absent: titles of columns that there was no room for.
        elsewhere: where these can be seen.
    """
    missing = [f"no room for: {', '.join(absent)} ({elsewhere})"] if absent else []
    return Text("\n".join([*lines, *missing]), style="table.caption")
