"""Rows in JSON, in each of the shapes that people's scripts write, or refused with what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aaa.data.coco_json import rows_of_coco
from aaa.data.endings import is_picture
from aaa.data.texts import encoding_of_table, not_utf8
from aaa.errors import UserError

Placed = tuple[str, dict[str, Any]]  # where a row is within the table, and its values


class _TwiceError(ValueError):
    """A key that an object has twice."""


def read_jsonl(table: Path) -> Iterator[Placed]:
    """The rows of JSON lines, placed `:17`; blank lines are passed over.

    Raises:
        UserError: naming the line that is no JSON object.
    """
    place = ""
    try:
        with table.open(encoding=encoding_of_table(table)) as lines:
            for number, line in enumerate(lines, start=1):
                place = f":{number}"
                if number == 1 and line.lstrip().startswith("[") and (rows := _as_list(table)) is not None:
                    yield from rows
                    return
                if line.strip():
                    yield place, _object(f"{table.name}{place}", _parsed(line))
    except UnicodeDecodeError as error:
        raise not_utf8(table, error, "JSON lines in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{table.name}{place}: not JSON ({error}).") from None


def read_json(table: Path) -> Iterator[Placed]:
    """The rows of one JSON value, placed `[16]`: a list of objects, one such list under a key, objects or captions
    by the names of pictures, or COCO's captions. JSON lines are read too.

    Raises:
        UserError: if it is nothing of this.
    """
    try:
        text = table.read_text(encoding=encoding_of_table(table))
    except UnicodeDecodeError as error:
        raise not_utf8(table, error, "JSON in UTF-8") from None
    try:
        content = _parsed(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise UserError(f"{table}: not JSON ({error}).") from None
        yield from read_jsonl(table)
        return
    except (ValueError, RecursionError) as error:
        raise UserError(f"{table}: not JSON ({error}).") from None
    if isinstance(content, dict):
        content = _rows_of(content, table)
    if not isinstance(content, list):
        raise UserError(f"{table}: not a JSON list of objects, one a picture.")
    for number, row in enumerate(content):
        yield f"[{number}]", _object(f"{table.name}[{number}]", row)


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_doubles)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return values


def _as_list(table: Path) -> Iterator[Placed] | None:
    """The rows of a JSON list that is called JSON lines, or None if it is none."""
    try:
        whole = json.loads(table.read_text(encoding=encoding_of_table(table)))
    except (ValueError, RecursionError):
        return None
    return read_json(table) if _is_list_of_objects(whole) else None


def _rows_of(content: dict[str, Any], table: Path) -> list[Any]:
    """The rows within an object.

    Raises:
        UserError: if it is not clear which they are.
    """
    if (rows := rows_of_coco(content, str(table))) is not None:
        return rows
    lists = [value for value in content.values() if _is_list_of_objects(value)]
    if len(lists) == 1:
        return lists[0]
    by_name = {name: value for name, value in content.items() if isinstance(value, dict)}
    if content and len(by_name) == len(content):
        if all("0" in value for value in by_name.values()):
            raise UserError(f"{table}: columns of rows, not rows; pandas writes rows with orient='records'.")
        return [{"file_name": name} | value for name, value in by_name.items()]  # as kohya's scripts write it
    if content and all(map(is_picture, content)) and all(isinstance(v, str | list) for v in content.values()):
        return [{"file_name": name, "text": captions} for name, captions in content.items()]
    keys = ", ".join(list(content)[:5]) or "none"
    raise UserError(f"{table}: not a JSON list of objects, one a picture, but an object with the keys {keys}.")


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _object(place: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{place}: not a JSON object with the columns' names as keys.")
    return row
