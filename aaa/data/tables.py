"""Tables of pictures and captions: CSV, JSON, JSON lines and Parquet, read row by row with the place of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aaa.data.columns import IMAGE_COLUMNS
from aaa.data.csv_table import read_csv
from aaa.data.folders import why_unreadable
from aaa.data.json_table import read_json, read_jsonl
from aaa.data.numbered_captions import read_numbered_captions
from aaa.errors import UserError

Kind = Literal["csv", "jsonl", "json", "parquet", "numbered"]
KINDS: dict[str, Kind] = {".csv": "csv", ".jsonl": "jsonl", ".json": "json", ".parquet": "parquet", ".tsv": "csv"}
SUFFIXES = tuple(KINDS)


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


def read_table(table: Path, name: str | None = None, kind: Kind | None = None) -> Iterator[Row]:
    """The rows of a table.

    Args:
        table: the file.
        name: what to call it in the rows' places, where the file's own name is not enough.
        kind: what it is; None where its ending says so.

    Raises:
        UserError: naming file and line, if it is not what its name says.
    """
    called = name or table.name
    kind = kind or KINDS[table.suffix.lower()]
    if kind == "csv" or kind == "numbered":
        for line, fields, problem in read_csv(table) if kind == "csv" else read_numbered_captions(table):
            yield Row(f"{called}:{line}", dict(fields), problem)
        return
    read = {"jsonl": read_jsonl, "json": read_json, "parquet": _parquet}[kind]
    for place, values in read(table):
        yield Row(f"{called}{place}", values)


def _parquet(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(f'{table}: reading Parquet needs pyarrow: pip install -e ".[datasets]"') from None
    if (problem := why_unreadable(table)) is not None:
        raise UserError(f"{table}: {problem}.")
    try:
        file = ParquetFile(table)
        _require_names(file.schema_arrow, table)
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                yield f"[{number}]", values
                number += 1
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: holds text that is not UTF-8 ({error}).") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{table}: not a whole Parquet file ({error}).") from None


def _require_names(schema: Any, table: Path) -> None:
    """Refuse a table that holds the pictures themselves, or a column twice."""
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{table}: the column {twice!r} is there twice; give one of them another name.")
    for field in schema:
        if field.name.lower() in IMAGE_COLUMNS and "binary" in str(field.type):
            raise UserError(
                f"{table}: the column {field.name!r} holds files, not their names. Parquet with the pictures in it is "
                f"read by data=huggingface data.path={table.parent}"
            )
