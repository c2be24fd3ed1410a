"""Flickr's lists of captions: lines of a picture's name, the caption's number and the caption, `a.jpg#0<TAB>A dog`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aaa.data.texts import encoding_of_table, not_utf8

LINE = re.compile(r"([^\t#]+\.\w+)#\d+\t(.*)")


def has_numbered_captions(table: Path) -> bool:
    """Whether the first line is such a one.

    Raises:
        UserError: if there is no file to read.
    """
    with table.open(encoding=encoding_of_table(table), errors="replace") as lines:
        return LINE.fullmatch(lines.readline(2**16).rstrip("\r\n")) is not None


def read_numbered_captions(table: Path) -> Iterator[tuple[int, dict[str, Any], str | None]]:
    """The lines, from 1, with their values and what is wrong with them; blank ones are passed over.

    Raises:
        UserError: if it is no text.
    """
    try:
        with table.open(encoding=encoding_of_table(table)) as lines:
            for number, line in enumerate(lines, start=1):
                if found := LINE.fullmatch(line.rstrip("\r\n")):
                    yield number, {"file_name": found[1], "caption": found[2]}, None
                elif line.strip():
                    wrong = f"not a name, # with a number, a tab and a caption ({line.strip()[:60]!r})"
                    yield number, {"file_name": None, "caption": None}, wrong
    except UnicodeDecodeError as error:
        raise not_utf8(table, error, "captions in UTF-8") from None
