"""Tables of captions that have a name of their own, as known data sets come: which are read, and their records."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aaa.data.captions import Captions, Columns
from aaa.data.endings import is_picture, shown, suffix, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.left_out import LeftOut
from aaa.data.picture_names import Found, PictureNames
from aaa.data.split_names import Named, split_of_name
from aaa.data.table_content import ENDINGS, PROMPT_COLUMNS_OF_OTHERS, kind_of_table
from aaa.data.table_pictures import pictures_of_rows
from aaa.data.tables import KINDS, Kind, read_table
from aaa.errors import UserError, nearest

logger = logging.getLogger(__name__)

KEY = "data.table"
Read = dict[str, list[FolderPicture]]  # by table


def find_tables(
    names: PictureNames,
    files: Sequence[str],
    image_column: str | None,
    prompt_column: Columns | None,
    left_out: LeftOut,
) -> tuple[Read, set[str]]:
    """The pictures of all tables that are there by their content. Of tables that name the same pictures one is read.

    Args:
        names: the files of the data folder.
        files: those that may be tables.
        image_column, prompt_column: as `tabled_pictures` takes them.
        left_out: counts tables that are not read, and rows whose picture is not there: people have parts of data sets.

    Returns:
        the pictures by table, and the tables that were counted.

    Raises:
        UserError: if one cannot be read.
    """
    absent: list[str] = []
    prompts = list(Captions(prompt_column).weights)
    found: Read = {}
    for file in _may_be_tables(files):
        if (kind := kind_of_table(names.root / file, image_column, prompts)) is not None:
            pictures = _pictures_of(file, kind, names, image_column, prompt_column)
            if any(picture.file or picture.problem for picture in pictures):
                found[file] = pictures
            else:
                absent.append(file)
    alternatives = _alternatives(found)
    chosen = {table: pictures for table, pictures in found.items() if table not in alternatives}
    if chosen:
        logger.info("%s: captions are read from %s.", names.root, _listed(list(chosen)))
    for file, taken in sorted(alternatives.items()):
        left_out.add(f"tables that name pictures of {taken}, which is read ({KEY}=NAME takes another)", file)
    for file in absent:
        left_out.add("tables whose pictures are not there", file)
    return _those_there(chosen, left_out), {*absent, *alternatives}


def read_tables(
    tables: Sequence[str],
    names: PictureNames,
    image_column: str | None,
    prompt_column: Columns | None,
    left_out: LeftOut,
) -> Read:
    """The pictures of the tables that the config names.

    Args:
        tables: their names.
        names, image_column, prompt_column, left_out: as `find_tables` takes them.

    Raises:
        UserError: if one is not there, or cannot be read.
    """
    read: Read = {}
    for table in tables:
        if table not in names.files:
            there = [file for file in names.files if suffix(file) in ENDINGS]
            raise UserError(
                f"{KEY}={table}: there is no such file in {names.root}{nearest(table, there)}. "
                "Give its name relative to data.root."
            )
        kind = kind_of_table(names.root / table, image_column, list(Captions(prompt_column).weights))
        kind = kind or KINDS.get(suffix(table))  # then reading it says what is wrong
        if kind is None:
            raise UserError(f"{KEY}={table}: no table of pictures and captions; docs/data.md shows what is read.")
        read[table] = _pictures_of(table, kind, names, image_column, prompt_column)
    return _those_there(read, left_out)


def held_out_by_names(read: Read, lists: Mapping[str, Mapping[str, Named]]) -> Read:
    """The same pictures with their splits, where no column says them, but the tables' names do, or lists of pictures.

    Args:
        read: pictures by table.
        lists: of lists, the splits of the pictures in them.
    """
    if any(picture.split for pictures in read.values() for picture in pictures):
        return read
    by_file = {file: split for splits in lists.values() for file, split in splits.items()}
    by_table = {table: split_of_name(_words(table)) for table in read}
    if not {"train", "validation"} <= set(by_table.values()):
        by_table = {}

    def said(table: str, picture: FolderPicture) -> Named:
        return by_file.get(picture.file or "") or by_table.get(table, "unknown")

    return {
        table: [p if said(table, p) == "unknown" else replace(p, split=said(table, p)) for p in pictures]
        for table, pictures in read.items()
    }


def split_lists(names: PictureNames, files: Iterable[str]) -> dict[str, dict[str, Named]]:
    """Text files that hold nothing but names of pictures and are called after a split, as Flickr8k has them:
    `Flickr_8k.devImages.txt`. Nothing unless some hold out, and some train.

    Returns:
        by list, the split of each of its pictures.
    """
    found: dict[str, dict[str, Named]] = {}
    for file in files:
        if suffix(file) == ".txt" and (split := split_of_name(_words(file))) != "unknown":
            pictures = [names.find_anywhere(line, "", file).file for line in _lines_of_pictures(names.root / file)]
            found[file] = {picture: split for picture in pictures if picture is not None}
    found = {file: splits for file, splits in found.items() if splits}
    kinds = {split for splits in found.values() for split in splits.values()}
    return found if len(kinds) == 2 else {}


def _may_be_tables(files: Sequence[str]) -> Iterator[str]:
    """Files of the endings that tables have, but none that belongs to one picture: `0001.json` beside `0001.jpg`."""
    pictures = {without_suffix(file) for file in files if is_picture(file)}
    return (file for file in files if suffix(file) in ENDINGS and without_suffix(file) not in pictures)


def _pictures_of(
    table: str, kind: Kind, names: PictureNames, image_column: str | None, prompt_column: Columns | None
) -> list[FolderPicture]:
    """The pictures of a table; one that is not there is without a file and without a problem."""
    captions = Captions(prompt_column, usual=PROMPT_COLUMNS_OF_OTHERS)
    rows = list(read_table(names.root / table, table, kind))

    def find(name: str, folder: str) -> Found:
        found = names.find_anywhere(name, folder, table)
        return Found(None) if found.absent else found

    return _joined(pictures_of_rows(rows, table, names.root, image_column, captions, find))


def _those_there(read: Read, left_out: LeftOut) -> Read:
    for pictures in read.values():
        for picture in pictures:
            if picture.file is None and picture.problem is None:
                left_out.add("rows whose picture is not there", picture.place)
    return {
        table: [picture for picture in pictures if picture.file is not None or picture.problem is not None]
        for table, pictures in read.items()
    }


def _joined(pictures: Iterable[FolderPicture]) -> list[FolderPicture]:
    """One picture with the captions of all rows that name it, but for rows that cannot be used."""
    joined: dict[object, FolderPicture] = {}
    for number, picture in enumerate(pictures):
        if picture.file is None or picture.problem is not None:
            joined[number] = picture
            continue
        same = (picture.file, picture.split)
        if (first := joined.get(same)) is None:
            joined[same] = replace(picture, key=picture.file.removeprefix("images/"), prompts=dict(picture.prompts))
            continue
        for prompt, weight in picture.prompts.items():
            first.prompts[prompt] = first.prompts.get(prompt, 0.0) + weight
    for picture in joined.values():
        if len(picture.prompts) > 1:
            picture.prompts.pop("", None)
    return list(joined.values())


def _alternatives(found: Read) -> dict[str, str]:
    """Tables most of whose pictures others name that are better, with the best of these: it names more of those that
    are there, or as many and says their splits, or its name is shorter."""
    files = {table: {picture.file for picture in pictures if picture.file} for table, pictures in found.items()}

    def rank(table: str) -> tuple[int, bool, int, str]:
        without_splits = not any(picture.split for picture in found[table])
        return -len(files[table]), without_splits, len(table), table

    taken: dict[str, str] = {}  # by picture
    alternatives: dict[str, str] = {}
    for table in sorted(found, key=rank):
        better = [taken[file] for file in files[table] if file in taken]
        if 2 * len(better) > len(files[table]):
            alternatives[table] = min(better, key=rank)
        else:
            taken = dict.fromkeys(files[table], table) | taken
    return alternatives


def _lines_of_pictures(file: Path) -> list[str]:
    """The lines of a list of pictures; nothing if it is none."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []
    return lines if all(map(is_picture, lines)) else []


def _words(file: str) -> str:
    """A file's own name with its words apart: `Flickr_8k.dev_Images`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", without_suffix(file.rpartition("/")[2]))


def _listed(tables: Sequence[str]) -> str:
    more = f" and {len(tables) - 3} more" if len(tables) > 3 else ""
    return ", ".join(map(shown, tables[:3])) + more
