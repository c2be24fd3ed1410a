"""Tables of captions that have a name of their own, as known data sets come: which are read, and their records."""

import logging
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aaa.data.captions import Captions, Columns
from aaa.data.columns import IMAGE_COLUMNS, usual_columns
from aaa.data.endings import shown, suffix, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.left_out import LeftOut
from aaa.data.other_files import names_of_pictures
from aaa.data.picture_names import Found, PictureNames
from aaa.data.split_names import split_of_table
from aaa.data.table_content import CAPTIONS, NUMBERED, Form, form_of_table
from aaa.data.table_pictures import pictures_of_rows
from aaa.data.tables import KINDS, Row, read_table
from aaa.errors import UserError, nearest

logger = logging.getLogger(__name__)

KEY = "data.table"
LISTED = 5
MOST = 0.9  # of the objects of a JSON that are captioned, if they are captions: in kohya's some have tags alone
LEMMAS = "flickr8k.lemma.token.txt"  # the captions of the file beside it, without the endings of their words
Read = dict[str, Sequence[FolderPicture]]  # by table


def find_tables(
    names: PictureNames,
    files: Sequence[str],
    image_column: str | None,
    prompt_column: Columns | None,
    left_out: LeftOut,
) -> tuple[Read, set[str]]:
    """The pictures of the tables that are there: of one known data set, or one table, or one for each split.

    Args:
        names: the files of the data folder.
        files: those that may be tables.
        image_column, prompt_column: as `tabled_pictures` takes them.
        left_out: counts tables of whose pictures none is there.

    Returns:
        the pictures by table, and the tables that were counted.

    Raises:
        UserError: if one cannot be read, or it is not clear which are meant.
    """
    prompts = list(Captions(prompt_column).weights)
    pictures = names_of_pictures(files)
    found: Read = {}
    forms: dict[str, str | frozenset[str]] = {}
    absent: set[str] = set()
    for file in files:
        called = file.lower()
        if not called.endswith((*KINDS, *NUMBERED, CAPTIONS)) or called.endswith(LEMMAS):
            continue
        if without_suffix(file) in pictures or not (form := form_of_table(file, names, image_column, prompts)):
            continue
        try:
            rows = list(read_table(names.root / file, file, form.kind))
        except UserError as error:
            raise UserError(f"{error} {KEY}=FILE reads another table alone.") from None
        there = list(dict.fromkeys(column for row in rows for column in row.values))
        if form.throughout:
            named = {*prompts} if prompts else {*usual_columns(there, form.captions)}
            spoken = [row for row in rows if row.values.keys() & named]
            if len(spoken) < MOST * len(rows):
                continue
            for row in rows if len(spoken) < len(rows) else ():
                if not row.values.keys() & named:
                    left_out.add("entries without a caption", row.place)
            rows = spoken
        its = _pictures_of(rows, file, names, image_column, Captions(prompt_column, usual=form.captions))
        if any(picture.file for picture in its):
            found[file] = its
            taken = [*usual_columns(there, IMAGE_COLUMNS)[:1], *usual_columns(there, form.captions)[:1]]
            forms[file] = form.data_set or frozenset([image_column] if image_column else taken) | {*prompts}
        else:
            absent.add(file)
            problem = next((f" ({picture.problem})" for picture in its if picture.problem), "")
            left_out.add(f"tables of whose pictures none is found{problem}", file)
    _require_one_meaning(found, forms, names)
    if found:
        logger.info("%s: captions are read from %s.", names.root, _listed(list(found)))
    return found, absent


def read_tables(
    tables: Sequence[str],
    names: PictureNames,
    image_column: str | None,
    prompt_column: Columns | None,
) -> Read:
    """The pictures of the tables that the config names.

    Args:
        tables: their names.
        names, image_column, prompt_column: as `find_tables` takes them.

    Raises:
        UserError: if one is not there, or cannot be read.
    """
    read: Read = {}
    for table in map(posixpath.normpath, tables):
        if table not in names.files:
            there = [file for file in names.files if file.lower().endswith((*KINDS, ".txt", ".token"))]
            raise UserError(
                f"{KEY}={table}: there is no such file in {names.root}{nearest(table, there)}. "
                "Give its name relative to data.root."
            )
        form = form_of_table(table, names, image_column, list(Captions(prompt_column).weights))
        if form is None and (kind := ({".txt": KINDS[".csv"]} | KINDS).get(suffix(table))):
            form = Form(kind)  # then reading it says what is wrong
        rows = list(read_table(names.root / table, table, form.kind)) if form else []
        if form is None or not rows:
            raise UserError(f"{KEY}={table}: no table of pictures and captions; docs/data.md shows what is read.")
        captions = Captions(prompt_column, usual=form.captions)
        read[table] = _pictures_of(rows, table, names, image_column, captions)
    return read


def joined(pictures: Iterable[FolderPicture], left_out: LeftOut) -> list[FolderPicture]:
    """One picture with the captions of all rows that name it, but for rows that cannot be used. Rows whose picture is
    not there are counted: people have parts of data sets."""
    joined: dict[object, FolderPicture] = {}
    for number, picture in enumerate(pictures):
        if picture.file is None and picture.problem is None:
            left_out.add("rows whose picture is not there", picture.place)
            continue
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


def _pictures_of(
    rows: Sequence[Row], table: str, names: PictureNames, image_column: str | None, captions: Captions
) -> list[FolderPicture]:
    """The pictures of a table; one that is not there is without a file and without a problem."""

    def find(name: str, folder: str) -> Found:
        found = names.find_anywhere(name, folder, table)
        return Found(None) if found.absent else found

    return list(pictures_of_rows(rows, table, names.root, image_column, captions, find))


def _require_one_meaning(found: Read, forms: Mapping[str, str | frozenset[str]], names: PictureNames) -> None:
    """Refuse tables of which it is not clear that they belong together: captions may be labels or made by a model.

    Args:
        found: pictures by table.
        forms: of each table the known data set whose form it has, or its columns.
        names: the files of the data folder.

    Raises:
        UserError: naming the tables.
    """
    of_splits = all(isinstance(forms[table], str) or split_of_table(table) != "unknown" for table in found)
    if len(found) < 2 or (len(set(forms.values())) == 1 and of_splits and not _say_otherwise(found)):
        return
    counts = {table: len({picture.file for picture in pictures if picture.file}) for table, pictures in found.items()}
    raise UserError(
        f"{names.root}: several tables of captions, and nothing that says which are read: "
        f"{_listed([f'{table} (pictures: {count})' for table, count in counts.items()])}. "
        f"{KEY}=FILE or {KEY}=[FILE,FILE] says so."
    )


def _say_otherwise(found: Read) -> bool:
    """Whether a table says something else of a picture than another of its split, or than others of most of its own."""
    said: dict[str, tuple[str, frozenset[str]]] = {}
    for table, pictures in found.items():
        own: dict[str, set[str]] = {}
        for picture in pictures:
            if picture.file:
                own.setdefault(picture.file, set()).update(picture.prompts)
        others = [said[file][0] for file, prompts in own.items() if file in said and said[file][1] != prompts]
        if 2 * len(others) > len(own) or any(split_of_table(other) == split_of_table(table) for other in {*others}):
            return True
        for file, prompts in own.items():
            said.setdefault(file, (table, frozenset(prompts)))
    return False


def _listed(tables: Sequence[str]) -> str:
    more = f" and {len(tables) - LISTED} more" if len(tables) > LISTED else ""
    return ", ".join(map(shown, tables[:LISTED])) + more
