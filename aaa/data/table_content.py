"""Whether a file is a table of pictures and captions: told by what is in it, whatever it is called."""

import json
import mmap
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aaa.data.coco_json import is_coco_caption, is_karpathy_picture
from aaa.data.columns import IMAGE_COLUMNS, PROMPT_COLUMNS, usual_columns
from aaa.data.endings import is_picture, suffix
from aaa.data.folders import why_unreadable
from aaa.data.numbered_captions import has_numbered_captions
from aaa.data.tables import KINDS, Kind, read_table
from aaa.errors import UserError

ENDINGS = (*KINDS, ".txt", ".token")
# Names of captions that would say nothing in a table of one's own: Flickr30k's and DiffusionDB's.
PROMPT_COLUMNS_OF_OTHERS = (*PROMPT_COLUMNS, "comment", "p")
BEGINNING = 2**16  # bytes of JSON in which an object ends that is looked at; the whole may be half a gigabyte
FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:\s*')
LIST_OF_OBJECTS = re.compile(r'"[^"]*"\s*:\s*\[\s*(?=\{)')


def kind_of_table(table: Path, image_column: str | None, prompt_columns: Sequence[str]) -> Kind | None:
    """How to read a file as a table of pictures and captions, or None if it is none.

    Its first row must have a picture's name, and a caption.

    Args:
        table: the file.
        image_column: that holds names, or None for one of the usual ones.
        prompt_columns: that hold captions, or nothing for one of the usual ones.
    """

    def is_row(values: Mapping[str, Any]) -> bool:
        present = list(values)
        named = [image_column] if image_column else usual_columns(present, IMAGE_COLUMNS)
        said = prompt_columns or usual_columns(present, PROMPT_COLUMNS_OF_OTHERS)
        value = values.get(named[0]) if named else None
        first = value[0] if isinstance(value, list) and value else value
        return isinstance(first, str) and is_picture(first.strip()) and any(column in values for column in said)

    ending = suffix(table.name)
    try:
        if ending == ".json":
            return "json" if _is_json_table(table, is_row) else None
        if ending in (".txt", ".token") and has_numbered_captions(table):
            return "numbered"
        if ending == ".token":
            return None
        kind = KINDS.get(ending, "csv")
        first = next(read_table(table, kind=kind), None)
    except UserError:
        return None
    return kind if first is not None and is_row(first.values) else None


def _is_json_table(table: Path, is_row: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether the first of the objects is a row, without reading on: boxes and outlines take half a gigabyte."""
    if why_unreadable(table) is not None or not table.stat().st_size:
        return False
    with table.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        beginning = _text(content, 0).lstrip("\ufeff \t\r\n")
        if beginning.startswith("["):
            return is_row(_object(beginning[1:]))
        if not (first := FIRST_KEY.match(beginning)):
            return False
        if isinstance(name := _value(first[1]), str) and is_picture(name):
            value = _value(beginning[first.end() :])
            return isinstance(value, str | list) or is_row({"file_name": name} | (value or {}))
        if is_row(_object(beginning)):  # JSON lines
            return True
        if listed := LIST_OF_OBJECTS.search(beginning):
            found = _object(beginning[listed.end() :])
            if is_row(found) or (listed[0].startswith('"images"') and is_karpathy_picture(found)):
                return True
        annotations = re.search(rb'"annotations"\s*:\s*\[\s*(?=\{)', content)
        return annotations is not None and is_coco_caption(_object(_text(content, annotations.end())))


def _text(content: mmap.mmap, start: int) -> str:
    return content[start : start + BEGINNING].decode(errors="ignore")


def _value(text: str) -> Any:
    """The value that a text begins with, or None where that goes on beyond its end."""
    try:
        return json.JSONDecoder().raw_decode(text.lstrip())[0]
    except (ValueError, RecursionError):
        return None


def _object(text: str) -> dict[str, Any]:
    value = _value(text)
    return value if isinstance(value, dict) else {}
