"""Text files of others: UTF-8, or UTF-16 where its mark says so, as Windows writes it."""

import codecs
from pathlib import Path

from aaa.data.folders import pointer_to, why_unreadable
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
        text = content.decode(encoding_of(content)).strip()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"not UTF-8 ({_bad_byte(error)} in line {line}); save it as UTF-8") from None
    if "\0" in text:
        raise UserError("not UTF-8 (it holds NULs; save it as UTF-8)")
    return text


def read_caption(path: Path) -> str:
    """The caption in a file.

    Raises:
        UserError: that says what is wrong with it.
    """
    try:
        content = path.open("rb") if path.is_file() else None  # a pipe or a device would be read for ever
    except OSError:
        content = None
    if content is None:
        raise UserError(why_unreadable(path) or "cannot be read")
    with content:
        text = content.read(MAX_CAPTION_BYTES + 1)
    if (pointer := pointer_to(text)) is not None:
        raise UserError(pointer)
    return decode_caption(text)


def encoding_of_table(table: Path) -> str:
    """The encoding of a table that is text.

    Raises:
        UserError: if there is no file to read, or a pointer in place of it.
    """
    if (problem := why_unreadable(table)) is not None:
        raise UserError(f"{table}: {problem}.")
    with table.open("rb") as content:
        return encoding_of(content.read(4))


def not_utf8(table: Path, error: UnicodeDecodeError, kind: str) -> UserError:
    """The error that a table is not the text that it should be, with the line.

    Args:
        table: that is read.
        error: what its text could not be decoded for.
        kind: of file, in UTF-8.
    """
    how = 'Save it as UTF-8, which Excel calls "CSV UTF-8", or convert it: iconv -f CP1252 -t UTF-8'
    return UserError(f"{table}{_bad_line(table)}: not {kind} ({_bad_byte(error)}). {how}")


def _bad_byte(error: UnicodeDecodeError) -> str:
    return f"byte 0x{error.object[error.start]:02x}"


def _bad_line(table: Path) -> str:
    """Where the first line is that is not UTF-8, `:17`; nothing where lines cannot be told apart."""
    with table.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and encoding_of(line) == "utf-16":
                return ""
            try:
                line.decode()
            except UnicodeDecodeError:
                return f":{number}"
    return ""
