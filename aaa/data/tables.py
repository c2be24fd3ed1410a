"""Tables of pictures and captions: CSV, JSON, JSON lines and Parquet, read row by row with the place of each."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aaa.errors import UserError

SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        place: where it was said: `metadata.csv:17`.
        values: by column; a column that the row lacks is not there.
        problem: what is wrong with the row itself, or None.
    """

    place: str
    values: dict[str, Any]
    problem: str | None = None


def read_table(table: Path) -> Iterator[Row]:
    """The rows of a table.

    Raises:
        UserError: naming file and line, if it is not what its name says.
    """
    return {".csv": _csv, ".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}[table.suffix](table)


def _csv(table: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if not reader.fieldnames:
                return
            for row in reader:
                problem = None
                if None in row:
                    problem = "more fields than columns; a caption with a comma in it needs quotes"
                values = {key: value for key, value in row.items() if key is not None and value is not None}
                yield Row(f"{table.name}:{reader.line_num}", values, problem)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not a CSV file in UTF-8 ({error}).") from None


def _jsonl(table: Path) -> Iterator[Row]:
    place = table.name
    try:
        with table.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    place = f"{table.name}:{number}"
                    yield Row(place, _object(place, json.loads(line)))
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: not UTF-8 ({error}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not JSON ({error}).") from None


def _json(table: Path) -> Iterator[Row]:
    try:
        content = json.loads(table.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{table}: not JSON ({error}).") from None
    if not isinstance(content, list):
        raise UserError(f"{table}: not a JSON list of objects, one a picture.")
    for number, row in enumerate(content):
        place = f"{table.name}[{number}]"
        yield Row(place, _object(place, row))


def _object(place: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{place}: not a JSON object with the columns' names as keys.")
    return row


def _parquet(table: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(f'{table}: reading Parquet needs pyarrow: pip install -e ".[datasets]"') from None
    try:
        file = ParquetFile(table)
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                yield Row(f"{table.name}[{number}]", values)
                number += 1
    except (ArrowException, OSError) as error:
        raise UserError(f"{table}: not a whole Parquet file ({error}).") from None
