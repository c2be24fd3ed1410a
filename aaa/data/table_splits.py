"""What tables' names, lists of pictures and a column together say of what is held out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aaa.data.endings import is_picture, suffix, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.left_out import LeftOut
from aaa.data.picture_names import PictureNames
from aaa.data.split_names import (
    Named,
    settle_splits,
    split_of_name,
    split_of_table,
    split_of_word,
    split_words,
    words_of,
)

Lists = dict[str, dict[str, Named]]  # by list, the split of each picture in it


def split_lists(names: PictureNames, files: Iterable[str], left_out: LeftOut) -> Lists:
    """Text files that are called after a split and hold names of pictures, with or without their endings, and little
    else: `Flickr_8k.devImages.txt`, `test.txt`.

    Args:
        names: the files of the data folder.
        files: those that may be lists.
        left_out: counts texts of such a name that are none.

    Returns:
        the lists; one that is none is there, without pictures.
    """
    pictures = {without_suffix(file.rpartition("/")[2]) for file in names.files if is_picture(file)}
    found: Lists = {}
    for file in files:
        own = file.rpartition("/")[2]
        if suffix(own) != ".txt" or without_suffix(own) in pictures or not split_words(words_of(own)):
            continue
        split = split_of_name(words_of(own))
        listed = _pictures_in(file, names) if split != "unknown" else []
        found[file] = dict.fromkeys(listed, split)
        if not listed:
            left_out.add("texts called after a split that list no pictures that are there", file)
    return found


def with_splits(read: Mapping[str, Sequence[FolderPicture]], lists: Lists, root: Path) -> Iterator[FolderPicture]:
    """The same pictures with their splits. A picture is held out where anything says so: its table's name, a list or a
    column. Beside those that a list holds out, pictures of which nothing is said are trained on.

    Args:
        read: pictures by table.
        lists: of pictures.
        root: the data folder, for messages.
    """
    listed: dict[str, Named] = {}
    for splits in lists.values():
        listed |= {file: split for file, split in splits.items() if listed.get(file) != "validation"}
    named = {table: split_of_table(table) for table in read}
    if set(named.values()) == {"validation"} and (listed or any(one.split for its in read.values() for one in its)):
        named = {}  # then these say which of them to train on
    by_table = settle_splits(named, root, "tables")
    unlisted: Named | None = "train" if "validation" in listed.values() else None
    for table, pictures in read.items():
        for one in pictures:
            said = {by_table.get(table), listed.get(one.file or ""), split_of_word(one.split) if one.split else None}
            split = next((split for split in ("validation", "train") if split in said), one.split or unlisted)
            yield one if split == one.split else replace(one, split=split)


def _pictures_in(file: str, names: PictureNames) -> list[str]:
    """The pictures of a list that are there; nothing if a line is no picture's name."""
    try:
        lines = [line.strip() for line in (names.root / file).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    found = {line: names.all_alike(line) for line in lines if line}  # a list can only hold out too much
    if 2 * sum(bool(pictures) or is_picture(line) for line, pictures in found.items()) <= len(found):
        return []
    return [picture for pictures in found.values() for picture in pictures]
