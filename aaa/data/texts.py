"""Text files of others: UTF-8, or UTF-16 where its mark says so, as Windows writes it."""

import codecs
from pathlib import Path

from aaa.data.folders import why_unreadable
from aaa.errors import UserError

MAX_CAPTION_BYTES = 2**20


def encoding_of(beginning: bytes) -> str:
    """The encoding that the first bytes of a text speak of."""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def decode_caption(content: bytes) -> str:
    """A caption, without the blanks around it.

    Raises:
        UserError: that says what is wrong with it.
    """
    if len(content) > MAX_CAPTION_BYTES:
        raise UserError(f"is over {MAX_CAPTION_BYTES} bytes, more than any caption")
    try:
        return content.decode(encoding_of(content)).strip()
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 ({error})") from None


def read_caption(path: Path) -> str:
    """The caption in a file.

    Raises:
        UserError: that says what is wrong with it.
    """
    if (problem := why_unreadable(path)) is not None:
        raise UserError(problem)
    with path.open("rb") as content:
        return decode_caption(content.read(MAX_CAPTION_BYTES + 1))


def encoding_of_table(table: Path) -> str:
    """The encoding of a table that is text.

    Raises:
        UserError: if there is no file to read, or a pointer in place of it.
    """
    if (problem := why_unreadable(table)) is not None:
        raise UserError(f"{table}: {problem}.")
    with table.open("rb") as content:
        return encoding_of(content.read(4))
