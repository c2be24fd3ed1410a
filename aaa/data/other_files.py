"""What lies in a data folder and is neither a picture, a caption nor a table that is read: why it is left out."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from aaa.data.endings import PACKED, is_caption, is_document, is_picture, suffix, without_suffix
from aaa.data.left_out import LeftOut
from aaa.data.tables import SUFFIXES

# What is no data yet, by ending, with what to do about it.
TO_BE_MADE_READY = {
    "packed files, to be unpacked first": PACKED,
    "pictures to be converted to JPEG or PNG first": (".heic", ".heif", ".cr2", ".cr3", ".nef", ".arw", ".dng"),
    "spreadsheets, to be saved as metadata.csv": (".xlsx", ".xls", ".ods"),
}
REASONS = {ending: reason for reason, endings in TO_BE_MADE_READY.items() for ending in endings}
OF_A_FOLDER = re.compile(r"((?:.*/)?\d+)(?:_stats\.json|\.parquet)")  # `00000.parquet` beside `00000/`


def names_of_pictures(files: Iterable[str]) -> set[str]:
    """What a note on one picture is called but for its own ending: `0001` and `0001.jpg`."""
    return {name for file in files if is_picture(file) for name in (file, without_suffix(file))}


def count_others(root: Path, left: Iterable[str], files: Sequence[str], tables: str, left_out: LeftOut) -> None:
    """Count such files.

    Args:
        root: the data folder.
        left: those that may be such, which pictures and captions are not.
        files: all that are there.
        tables: what tables among them are, a plural.
        left_out: counts them.
    """
    pictures = names_of_pictures(files)
    folders = {file.rpartition("/")[0] for file in files}
    for file in left:
        if is_picture(file) or is_caption(file):
            continue
        if is_document(file):
            left_out.add_no_data("documents", file)
        elif suffix(file) == ".json" and without_suffix(file) in pictures:
            left_out.add_no_data("notes on one picture each", file)
        elif (note := OF_A_FOLDER.fullmatch(file)) and note[1] in folders:
            left_out.add_no_data("img2dataset's notes on a folder", file)
        elif suffix(file) in SUFFIXES:
            left_out.add(tables, file)
        elif (root / file).is_symlink() and not (root / file).exists():
            left_out.add("links to what is not there", file)
        else:
            left_out.add(REASONS.get(suffix(file), "endings that are not read"), file)
