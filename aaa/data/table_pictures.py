"""Pictures with their prompts in the rows of tables."""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aaa.data.captions import Captions, Columns
from aaa.data.columns import IMAGE_COLUMNS, column_of
from aaa.data.divisions import split_column, split_value
from aaa.data.endings import is_caption, is_document, is_picture, same_letters, suffix, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.left_out import LeftOut
from aaa.data.picture_names import Found, PictureNames
from aaa.data.tables import Row, read_table
from aaa.data.written_lists import read_written_lists
from aaa.errors import UserError


def tabled_pictures(
    table: str, names: PictureNames, image_column: str | None, prompt_column: Columns | None
) -> Iterator[FolderPicture]:
    """Pictures of a table's rows.

    Args:
        table: its name relative to the data folder.
        names: the files of the data folder.
        image_column: or None for the first usual name.
        prompt_column: the same.

    Raises:
        UserError: if it cannot be read, or has no such columns.
    """
    rows = list(read_table(names.root / table, table))
    return pictures_of_rows(rows, table, names.root, image_column, Captions(prompt_column), names.find)


def pictures_of_rows(
    rows: Sequence[Row],
    table: str,
    root: Path,
    image_column: str | None,
    captions: Captions,
    find: Callable[[str, str], Found],
) -> Iterator[FolderPicture]:
    """Pictures of rows.

    Args:
        rows: all of a table.
        table: its name relative to the data folder.
        root: the data folder.
        image_column: or None for the first usual name.
        captions: the columns of prompts.
        find: a picture by its name and the folder of the table.

    Raises:
        UserError: if there are no such columns.
    """
    if not rows:
        return
    present = list(dict.fromkeys(column for row in rows for column in row.values if column))
    path = str(root / table)
    image = column_of(image_column, present, path, "data.image_column", IMAGE_COLUMNS)
    captions.settle(present, path)
    split = split_column(present, (row.values for row in rows), [image, *captions.weights])
    if separated := suffix(table) in (".csv", ".tsv", ".txt"):
        for column in captions.weights:
            read_written_lists([row.values for row in rows], column, table)
    for row in rows:
        swallowed = _swallowed(row, list(row.values).index(image)) if separated else None
        yield from _of_row(row, swallowed, image, captions, split, posixpath.dirname(table), find)


def _of_row(
    row: Row,
    swallowed: str | None,
    image_column: str,
    captions: Captions,
    split_by: str | None,
    folder: str,
    find: Callable[[str, str], Found],
) -> Iterator[FolderPicture]:
    images = row.values.get(image_column)
    named: list[Any] = images if isinstance(images, list) else [images]
    split = split_value(row.values.get(split_by)) if split_by else None
    prompts: dict[str, float] = {}
    problem = row.problem or swallowed
    try:
        prompts = captions.of(row.values)
    except UserError as error:
        problem = problem or str(error)
    for image in named or [None]:
        if not isinstance(image, str) or not image.strip():
            wrong = f"column {image_column!r} is empty or not text; it must name a picture"
            yield FolderPicture(row.place, None, "", row.place, prompts, problem=row.problem or wrong)
            continue
        found = find(image, folder)
        yield FolderPicture(
            posixpath.join(folder, image),
            found.file,
            image,
            row.place,
            prompts,
            split,
            problem or (found.problem and f"image {found.problem}"),
        )


def _swallowed(row: Row, at: int) -> str | None:
    """What is wrong with a row whose caption holds further rows, between two quotes that were never meant as a pair."""
    for value in row.values.values():
        for line in value.splitlines()[1:] if isinstance(value, str) else ():
            fields = re.split(r"[,;\t|]", line)
            if len(fields) > 1 and any(map(is_picture, fields[at : at + 1])):
                return f"the quoted text goes on over what looks like another row ({line[:60]!r}); is a quote missing?"
    return None


def unnamed_files(table: str, files: Sequence[str], named: set[str], left_out: LeftOut) -> None:
    """Count the pictures and captions that lie beside a table which does not speak of them."""
    captions = {same_letters(without_suffix(file)) for file in files if is_picture(file)}
    captions |= {same_letters(file) for file in files if is_picture(file)}
    folder = table.removesuffix(posixpath.basename(table))
    images = f"{folder}images/"
    for file in files:
        if is_picture(file) and file not in named:
            if images + file.removeprefix(folder) in named:
                left_out.add(f"pictures of the same name as one in {images}, which is read", file)
            else:
                left_out.add(f"pictures that no row of {table} names", file)
        elif is_caption(file) and same_letters(without_suffix(file)) in captions:
            left_out.add(f"captions beside pictures, where {table} is read instead", file)
        elif is_caption(file) and is_document(file):
            left_out.add_no_data("documents", file)
        elif is_caption(file):
            left_out.add("captions without a picture", file)


def table_of_folders(tables: Sequence[str], kinds: Sequence[str], left_out: LeftOut) -> dict[str, str]:
    """The table that speaks for each folder: the first kind there is, and for nested folders the one on top.

    Args:
        tables: names relative to the data folder.
        kinds: file names of tables, the preferred ones first.
        left_out: counts the others.
    """
    chosen: dict[str, str] = {}
    order = sorted(tables, key=lambda name: (name.count("/"), kinds.index(posixpath.basename(name).lower()), name))
    for table in order:
        folder = posixpath.dirname(table)
        above = table_above(folder, chosen)
        if above is None:
            chosen[folder] = table
        else:
            left_out.add(f"tables beside or below {above}, which is read", table)
    return chosen


def table_above(folder: str, tables: Mapping[str, str]) -> str | None:
    """The table in this folder or the nearest one around it, or None."""
    while folder not in tables:
        if not folder:
            return None
        folder = posixpath.dirname(folder)
    return tables[folder]
