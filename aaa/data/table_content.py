"""Which files are tables of pictures and captions, though they are not called metadata: those of exact forms alone."""

import json
import mmap
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aaa.data.coco_json import is_coco_caption, is_karpathy_picture
from aaa.data.columns import IMAGE_COLUMNS, PROMPT_COLUMNS, usual_columns
from aaa.data.endings import is_picture, suffix
from aaa.data.folders import why_unreadable
from aaa.data.numbered_captions import has_numbered_captions
from aaa.data.picture_names import PictureNames
from aaa.data.tables import KINDS, Kind, read_table
from aaa.data.texts import encoding_of
from aaa.errors import UserError

NUMBERED = (".token.txt", ".token", ".csv")
CAPTIONS = "captions.txt"
FLICKR8K, FLICKR30K = ["image", "caption"], ["image_name", "comment_number", "comment"]
BEGINNING = 2**16  # bytes of JSON in which an object ends that is looked at; the whole may be half a gigabyte
FIRST_KEY = re.compile(r'\{\s*"([^"\\]+)"\s*:\s*(?=\{)')
IMAGES = re.compile(r'"images"\s*:\s*\[\s*(?=\{)')
ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[\s*(?=\{)')


class Form(NamedTuple):
    """What a table is.

    Attributes:
        kind: how it is read.
        data_set: the known one whose form it has, or None.
        captions: names of the column of captions, where the config names none.
        throughout: whether each of its rows must have one, or it is none: objects by the names of pictures.
    """

    kind: Kind
    data_set: str | None = None
    captions: Sequence[str] = PROMPT_COLUMNS
    throughout: bool = False


def form_of_table(
    table: str, names: PictureNames, image_column: str | None, prompt_columns: Sequence[str]
) -> Form | None:
    """The form of a table of pictures and captions, or None if a file is none. No more than its beginning is read.

    Args:
        table: its name relative to the data folder.
        names: the files of the data folder.
        image_column: that holds names, or None for one of the usual ones.
        prompt_columns: that hold captions, or nothing for one of the usual ones.
    """
    path, called = names.root / table, table.rpartition("/")[2].lower()

    def is_row(values: Mapping[str, Any]) -> bool:
        present = list(values)
        named = image_column in values if image_column else usual_columns(present, IMAGE_COLUMNS)
        return bool(named) and bool(set(prompt_columns or usual_columns(present, PROMPT_COLUMNS)) & values.keys())

    try:
        if called.endswith(NUMBERED) and has_numbered_captions(path):
            return Form("numbered", "Flickr")
        if suffix(called) == ".json":
            return _form_of_json(table, names, is_row)
        kind = "csv" if called == CAPTIONS else KINDS.get(suffix(called))
        first = next(read_table(path, kind=kind), None) if kind else None
    except UserError:
        return None
    if kind is None or first is None:
        return None
    if kind == "csv" and list(first.values) == FLICKR30K:
        return Form(kind, "Flickr30k", ("comment",))
    if called == CAPTIONS:
        return Form(kind, "Flickr8k") if list(first.values) == FLICKR8K else None
    return Form(kind) if is_row(first.values) else None


def _form_of_json(table: str, names: PictureNames, is_row: Callable[[Mapping[str, Any]], bool]) -> Form | None:
    """The form by the first of the objects, without reading on: boxes and outlines take half a gigabyte."""
    path = names.root / table
    if why_unreadable(path) is not None or not path.stat().st_size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        beginning = _text(content, 0).lstrip("\ufeff \t\r\n")
        if beginning.startswith("["):
            return Form("json") if is_row(_object(beginning[1:])) else None
        if (images := IMAGES.search(beginning)) and is_karpathy_picture(_object(beginning[images.end() :])):
            return Form("json", "Karpathy")
        if (spoken := ANNOTATIONS.search(content)) and is_coco_caption(_object(_text(content, spoken.end()))):
            return Form("json", "COCO")
    first = FIRST_KEY.match(beginning)
    if first is None or not (is_picture(first[1]) or names.find_anywhere(first[1], "", table).file):
        return None
    value = _object(beginning[first.end() :])
    if is_picture(first[1]) and "p" in value:
        return Form("json", "DiffusionDB", ("p",), throughout=True)
    return Form("json", throughout=True) if is_row({"file_name": first[1]} | value) else None


def _text(content: mmap.mmap, start: int) -> str:
    return content[start : start + BEGINNING].decode(encoding_of(content[:4]), errors="ignore")


def _object(text: str) -> dict[str, Any]:
    """The object that a text begins with; an empty one where there is none, or it goes on beyond the text's end."""
    try:
        value = json.JSONDecoder().raw_decode(text.lstrip())[0]
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
