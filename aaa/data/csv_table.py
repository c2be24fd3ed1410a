"""CSV as people and spreadsheets write it, read row by row, or refused with the line."""

import csv
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from aaa.data.texts import encoding_of_table
from aaa.errors import UserError

SEPARATORS = (",", ";", "\t")


class CsvRow(NamedTuple):
    """A row of a CSV file.

    Attributes:
        line: where it begins, from 1.
        values: by column; None where the row is cut short.
        problem: what is wrong with it, or None.
    """

    line: int
    values: dict[str, str | None]
    problem: str | None


def read_csv(table: Path) -> Iterator[CsvRow]:
    """The rows of a CSV file whose first row names its columns; rows of nothing but blanks are passed over.

    Columns are separated by what separates those of the first row: commas, else semicolons or tabs.

    Raises:
        UserError: naming the line, if a quote is not closed, a column is there twice, or it is no CSV file.
    """
    csv.field_size_limit(2**31 - 1)
    line = 1
    try:
        with table.open(newline="", encoding=encoding_of_table(table)) as lines:
            skipped, header = _header(lines)
            separator = next((one for one in SEPARATORS if one in header), ",")
            blanks = f"{separator} " in header  # `image, prompt`: then fields begin after the blank as well
            rows = csv.reader(_and(header, lines), delimiter=separator, skipinitialspace=blanks, strict=True)
            columns: list[str] | None = None
            while True:
                line = skipped + rows.line_num + 1
                row = next(rows, None)
                if row is None:
                    return
                if columns is None:
                    columns = _columns(row, f"{table}:{line}")
                elif any(field.strip() for field in row):
                    values = dict(zip_longest(columns, row[: len(columns)]))
                    yield CsvRow(line, values, _misfit(len(row), len(columns)))
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: not a CSV file in UTF-8 ({error}).") from None
    except csv.Error as error:
        raise UserError(f"{table}:{line}: {_explained(str(error))}.") from None


def _header(lines: Iterator[str]) -> tuple[int, str]:
    """How many blank lines come first, and the line after them."""
    skipped = 0
    for line in lines:
        if line.strip():
            return skipped, line
        skipped += 1
    return skipped, ""


def _and(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _columns(row: list[str], place: str) -> list[str]:
    columns = [name.strip() for name in row]
    if "\0" in "".join(columns):
        raise UserError(f"{place}: not a CSV file in UTF-8 (it holds NULs; save it as UTF-8).")
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{place}: the column {twice!r} is there twice; give one of them another name.")
    return columns


def _misfit(fields: int, columns: int) -> str | None:
    if fields > columns:
        return "more fields than columns; a caption with a comma in it needs quotes"
    if fields < columns:
        return f"{fields} of {columns} fields; the row is cut short"
    return None


def _explained(error: str) -> str:
    if "unexpected end of data" in error:
        return "a quote that is opened in this row is never closed"
    if "expected after" in error:
        return (
            "a quote that is opened in this row is not closed before the next one; "
            'a quote within quotes is written twice ("")'
        )
    return f"not a CSV file ({error})"
