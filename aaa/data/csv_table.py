"""CSV as people and spreadsheets write it, read row by row, or refused with the line."""

import csv
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from aaa.data.columns import IMAGE_COLUMNS, PROMPT_COLUMNS, usual_columns
from aaa.data.texts import encoding_of_table, not_utf8
from aaa.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
USUAL = (*IMAGE_COLUMNS, *PROMPT_COLUMNS)


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

    Columns are separated by what separates those of the first row: commas, semicolons, tabs or bars, as a line
    `sep=;` before it says, or else whichever gives more columns of the usual names.

    Raises:
        UserError: naming the line, if a quote is not closed, a column is there twice, or it is no CSV file.
    """
    csv.field_size_limit(2**31 - 1)
    line = 1
    try:
        with table.open(newline="", encoding=encoding_of_table(table)) as lines:
            skipped, header, said = _header(lines)
            separator = said or _separator(header, table)
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
                    yield CsvRow(line, values, _misfit(row, columns))
    except UnicodeDecodeError as error:
        raise not_utf8(table, error, "a CSV file in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{table}:{line}: {_explained(str(error))}.") from None


def _header(lines: Iterator[str]) -> tuple[int, str, str | None]:
    """How many lines come before the columns' names, the line with these, and the separator that Excel's line says."""
    skipped, said = 0, None
    for line in lines:
        if excel := re.fullmatch(r"\"?sep=([,;\t|])\"?\s*", line, re.IGNORECASE):
            said = excel[1]
        elif line.strip():
            return skipped, line, said
        skipped += 1
    return skipped, "", said


def _separator(header: str, table: Path) -> str:
    """What separates the columns of a header: of several that may, what gives more columns of the usual names."""

    def columns(separator: str) -> tuple[int, int]:
        names = next(csv.reader([header], delimiter=separator), [])
        return len(usual_columns(names, USUAL)), len(names)

    there = [separator for separator in SEPARATORS if separator in header]
    if table.suffix.lower() == ".tsv" and "\t" in there:
        return "\t"
    return max(there, key=columns, default=",")


def _and(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _columns(row: list[str], place: str) -> list[str]:
    columns = [name.lstrip("\ufeff").strip() for name in row]  # of a mark that was saved twice
    if "\0" in "".join(columns):
        raise UserError(f"{place}: not a CSV file in UTF-8 (it holds NULs; save it as UTF-8).")
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{place}: the column {twice!r} is there twice; give one of them another name.")
    return columns


def _misfit(row: list[str], columns: list[str]) -> str | None:
    if any(field.strip() for field in row[len(columns) :]):
        return "more fields than columns; a caption with a comma in it needs quotes"
    if any(columns[len(row) :]):
        return f"{len(row)} of {len(columns)} fields; the row is cut short"
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
