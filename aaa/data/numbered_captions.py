"""Flickr's lists of captions: lines of a picture's name, the caption's number and the caption."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aaa.data.texts import encoding_of_table, not_utf8

HEADER = re.compile(r"image_name *\| *comment_number *\| *comment *")
# `a.jpg#0<TAB>A dog`, or `a.jpg| 0| A "dog"`, whose quotes are letters; one row of Flickr30k lacks the second bar.
LINE = re.compile(r"([^\t#|]+\.\w+)(?:#\d+\t| *\| *\d+ *[|\s])\s*(.*)")


def has_numbered_captions(table: Path) -> bool:
    """Whether the first line is such a one, or the header that comes before bars.

    Raises:
        UserError: if there is no file to read.
    """
    with table.open(encoding=encoding_of_table(table), errors="replace") as lines:
        first = lines.readline(2**16).rstrip("\r\n")
    return (LINE.fullmatch(first) or HEADER.fullmatch(first)) is not None


def read_numbered_captions(table: Path) -> Iterator[tuple[int, dict[str, Any], str | None]]:
    """The lines, from 1, with their values and what is wrong with them; the header and blank ones are passed over.

    Raises:
        UserError: if it is no text.
    """
    try:
        with table.open(encoding=encoding_of_table(table)) as lines:
            for number, line in enumerate(lines, start=1):
                if found := LINE.fullmatch(line.rstrip("\r\n")):
                    yield number, {"file_name": found[1], "caption": found[2]}, None
                elif line.strip() and not (number == 1 and HEADER.fullmatch(line.strip())):
                    wrong = f"not a picture's name, a number and a caption ({line.strip()[:60]!r})"
                    yield number, {"file_name": None, "caption": None}, wrong
    except UnicodeDecodeError as error:
        raise not_utf8(table, error, "captions in UTF-8") from None
