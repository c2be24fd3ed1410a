"""Pictures in a folder, their prompts in a table or in text files."""

import logging
import posixpath
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from aaa.data.captions import Captions, Columns
from aaa.data.divisions import Division, by_beginning, by_column, by_folder, settle
from aaa.data.endings import is_picture
from aaa.data.folder_picture import FolderPicture
from aaa.data.folders import data_folder, files_below, require_place, why_unreadable
from aaa.data.found_tables import Read, find_tables, joined, read_tables
from aaa.data.left_out import LeftOut
from aaa.data.other_files import count_others
from aaa.data.other_kinds import other_kind
from aaa.data.picture_names import PictureNames
from aaa.data.pictures import read_picture, require_color
from aaa.data.records import Record
from aaa.data.table_pictures import table_above, table_of_folders, tabled_pictures, unnamed_files
from aaa.data.table_splits import split_lists, with_splits
from aaa.data.tables import SUFFIXES
from aaa.data.text_pictures import captioned_pictures, has_captions_beside
from aaa.data.text_trees import pictures_with_texts_elsewhere
from aaa.encoders.downloads import fetch_dataset
from aaa.errors import UserError

logger = logging.getLogger(__name__)

TABLES = tuple(f"{name}{suffix}" for name in ("metadata", "metadata_merged") for suffix in SUFFIXES)
REPEATS = re.compile(r"([1-9]\d{0,2})_.+")  # of pictures, in the names of folders
ANOTHER_NAME, OTHERS = "tables of another name than metadata", "other tables"


class ImageFolderSource:
    """Records from tables named `metadata` (CSV, JSON lines, JSON or Parquet), else from text files beside pictures,
    else from tables of other names, as known data sets have them, else from text files in a folder of their own.

    A table speaks for its folder and all below. Its names are relative to it, or to a folder `images` beside it. A
    row may name a list of pictures, which all have its prompts. What no table speaks for has its prompts in text
    files. Folders called `train` and `test` (or `val`, `dev`, ...) that lie side by side divide the records. What is
    left out is told in one warning.

    Args:
        root: the folder.
        image_column: column (or JSON key) with the picture's file name; None for the first usual name.
        prompt_column: column with the prompt, several columns, or columns with weights; prompts may be empty. None
            for the first usual name.
        background_color: a CSS colour to put behind transparent pictures.
        dataset_id: repository to download the folder from if it is not there.
        table: the name of a table of any name, or several names, relative to the folder: these alone are read.

    Raises:
        UserError: if the folder, the table or one of its columns is missing, or it holds no records.
    """

    def __init__(
        self,
        root: str,
        image_column: str | None = None,
        prompt_column: Columns | None = None,
        background_color: str = "white",
        dataset_id: str | None = None,
        table: str | Sequence[str] | None = None,
    ) -> None:
        Captions(prompt_column)
        self.root = _existing(root, dataset_id)
        self.background_color = require_color(background_color)
        left_out = LeftOut(self.root)
        files = files_below(self.root, left_out)
        self._pictures = list(self._read(files, table, image_column, prompt_column, left_out))
        if not self._pictures:
            raise UserError(f"{self.root}: no records.{_what_to_do(self.root, files)}{_found(left_out)}")
        left_out.tell()
        _say_of_repeats(self.root, self._pictures)
        self._keys = _distinct(self._pictures)
        self._splits = settle(_divisions(self._pictures, self.root), self.root)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Record:
        picture = self._pictures[index]
        readable = picture.problem is None and picture.file is not None
        return Record(
            key=self._keys[index],
            prompt=next(iter(picture.prompts), ""),
            load=partial(self._load, picture),
            split=self._splits[index],
            path=self.root / picture.file if readable and picture.file is not None else None,
            prompts=picture.prompts if len(picture.prompts) > 1 else None,
        )

    def _read(
        self,
        files: Sequence[str],
        named: str | Sequence[str] | None,
        image_column: str | None,
        prompt_column: Columns | None,
        left_out: LeftOut,
    ) -> Iterator[FolderPicture]:
        names = PictureNames(self.root, files)
        if named:
            tables = [named] if isinstance(named, str) else list(named)
            read = read_tables(tables, names, image_column, prompt_column)
            yield from self._of_found(read, names, files, left_out)
            return
        if tables := [file for file in files if _base(file) in TABLES]:
            yield from self._of_tables(tables, names, files, image_column, prompt_column, left_out)
            return
        asked = _asked(image_column, prompt_column)
        if asked is not None or not has_captions_beside(files):
            found, counted = find_tables(names, files, image_column, prompt_column, left_out)
            files = [file for file in files if file not in counted]
            if found:
                yield from self._of_found(found, names, files, left_out)
                return
            if asked is not None:
                raise _no_table(asked, self.root)
            if pictures := pictures_with_texts_elsewhere(self.root, files):
                taken = {name for picture in pictures for name in (picture.file, picture.place)}
                left = [file for file in files if file not in taken]
                lists = split_lists(names, left, left_out)
                yield from with_splits({".": pictures}, lists, self.root)
                yield from self._of_texts([file for file in left if file not in lists], files, left_out)
                return
        yield from self._of_texts(files, files, left_out)

    def _of_texts(self, read: Sequence[str], files: Sequence[str], left_out: LeftOut) -> Iterator[FolderPicture]:
        count_others(self.root, read, files, ANOTHER_NAME, left_out)
        yield from captioned_pictures(self.root, read, left_out)

    def _of_tables(
        self,
        tables: Sequence[str],
        names: PictureNames,
        files: Sequence[str],
        image_column: str | None,
        prompt_column: Columns | None,
        left_out: LeftOut,
    ) -> Iterator[FolderPicture]:
        """Pictures of tables called metadata, and those with texts where no table speaks for them."""
        chosen = table_of_folders(tables, TABLES, left_out)
        spoken_for: dict[str, list[str]] = {table: [] for table in chosen.values()}
        alone: list[str] = []
        tables_of = {folder: table_above(folder, chosen) for folder in {file.rpartition("/")[0] for file in files}}
        for file in files:
            table = tables_of[file.rpartition("/")[0]]
            (alone if table is None else spoken_for[table]).append(file)
        others = [file for file in files if _base(file) not in TABLES]
        count_others(self.root, others, files, ANOTHER_NAME, left_out)
        named: set[str] = set()
        for table in spoken_for:
            for picture in tabled_pictures(table, names, image_column, prompt_column):
                named.add(picture.file or "")
                yield picture
        for table, its_files in spoken_for.items():
            unnamed_files(table, its_files, named, left_out)
        yield from captioned_pictures(self.root, [file for file in alone if file not in named], left_out)

    def _of_found(
        self, read: Read, names: PictureNames, files: Sequence[str], left_out: LeftOut
    ) -> Iterator[FolderPicture]:
        """Pictures of tables of other names."""
        left = [file for file in files if file not in read]
        lists = split_lists(names, left, left_out)
        pictures = joined(with_splits(read, lists, self.root), left_out)
        yield from pictures
        named = {picture.file for picture in pictures if picture.file is not None}
        left = [file for file in left if file not in lists]
        first, *more = read
        unnamed_files(f"{first} and {len(more)} more" if more else first, left, named, left_out)
        count_others(self.root, left, files, OTHERS, left_out)

    def _load(self, picture: FolderPicture) -> Image.Image:
        if picture.problem is not None or picture.file is None:
            raise UserError(f"{picture.place}: {picture.problem}")
        path = self.root / picture.file
        try:
            return read_picture(path, self.background_color)
        except UserError as error:
            problem = why_unreadable(path) or str(error)
            raise UserError(f"{picture.place}: image {picture.image!r} {problem}") from None


def _existing(root: str, dataset_id: str | None) -> Path:
    """The folder of pictures, downloaded if need be.

    Raises:
        UserError: if there is none.
    """
    require_place(root, "data.root")
    folder = Path(root)
    failure = None
    if dataset_id is not None and not folder.exists():
        failure = fetch_dataset(dataset_id, folder)
    if folder.is_file():
        raise UserError(f"data.root={root}: is a file; give the folder of your pictures with data.root=PATH.")
    if not folder.is_dir():
        raise UserError(
            f"data.root={root}: there is no such folder (looked in {folder.absolute()}). "
            + (failure or "Give the folder of your pictures with data.root=PATH.")
        )
    return data_folder(folder)


def _base(file: str) -> str:
    return posixpath.basename(file).lower()


def _asked(image_column: str | None, prompt_column: Columns | None) -> str | None:
    """The first column that is asked for, with its key. `image` and `prompt` were the defaults of earlier versions."""
    for key, column, earlier in (("image", image_column, "image"), ("prompt", prompt_column, "prompt")):
        if column is not None and column != earlier:
            return f"data.{key}_column={column}"
    return None


def _no_table(asked: str, root: Path) -> UserError:
    return UserError(
        f"{asked}: there is no table in {root} that could have it (looked for {', '.join(TABLES)}, and for others that "
        "have it). Without it, captions are the text files beside the pictures."
    )


def _say_of_repeats(root: Path, pictures: Sequence[FolderPicture]) -> None:
    """Say that folders called as kohya's scripts want them, `10_dogs` and `3_cats`, count no more than others."""
    folders = {posixpath.basename(posixpath.dirname(picture.file)) for picture in pictures if picture.file}
    repeats = {found[1]: folder for folder in sorted(folders) if (found := REPEATS.fullmatch(folder))}
    if len(repeats) > 1:
        logger.info(
            "%s: numbers of folders such as %s are no repeats here: all pictures come equally often; data=mixture with "
            "a part for each folder has weights.",
            root,
            " and ".join(list(repeats.values())[:2]),
        )


def _found(left_out: LeftOut) -> str:
    return f" There is: {left_out}." if str(left_out) else ""


def _what_to_do(root: Path, files: Sequence[str]) -> str:
    pictures = any(map(is_picture, files))
    if not pictures and (other := other_kind(root, files)):
        return other
    needed = (
        f" A data set needs at least one picture: a row in {', '.join(TABLES[: len(SUFFIXES)])} or in a table that "
        "data.table=FILE names, or a picture with a .txt file of the same name."
    )
    return f"{needed} docs/data.md shows how to make a table of the names of folders." if pictures else needed


def _distinct(pictures: Sequence[FolderPicture]) -> list[str]:
    """Keys of pictures. Where one beside `images` has the name of one in it, the latter has the plain key."""
    owners: dict[str, str | None] = {}
    for picture in pictures:
        if picture.key not in owners or (picture.file or "").startswith("images/"):
            owners[picture.key] = picture.file
    return [p.key if owners[p.key] == p.file else f"./{p.file or p.key}" for p in pictures]


def _divisions(pictures: Sequence[FolderPicture], root: Path) -> Iterator[Division]:
    """What may say where each record belongs: a column, the folders of tables, folders of pictures, their names."""
    if any(picture.split for picture in pictures):
        yield by_column([picture.split for picture in pictures], root)
    files = [picture.file or picture.key for picture in pictures]
    places = [picture.place for picture in pictures]
    if any(posixpath.dirname(place) != posixpath.dirname(file) for place, file in zip(places, files, strict=True)):
        yield by_folder(places)
    yield by_folder(files)
    yield by_beginning(files)
