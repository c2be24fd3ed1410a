"""Pictures in a folder, their prompts in a table or in text files beside them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor

from aaa.data.captions import Captions, Columns
from aaa.data.pictures import read_picture
from aaa.data.records import Record
from aaa.data.tables import SUFFIXES, Row, read_table
from aaa.downloads import fetch_dataset
from aaa.errors import UserError

TABLES = tuple(f"{name}{suffix}" for name in ("metadata", "metadata_merged") for suffix in SUFFIXES)
PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class _Picture:
    """A picture's name, its prompts and where they were said (`metadata.csv:17`), or what is wrong with that row."""

    image: str
    place: str
    prompts: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


class ImageFolderSource:
    """Records from a table named `metadata` (CSV, JSON lines, JSON or Parquet), else from `.txt` files.

    A picture is looked for in `root/images` if there is such a folder, else in `root`; folders may be nested. A row
    may name a list of pictures, which all have its prompts.

    Args:
        root: the folder.
        image_column: column (or JSON key) with the picture's file name.
        prompt_column: column with the prompt, several columns, or columns with weights; prompts may be empty.
        background_color: a CSS colour to put behind transparent pictures.
        dataset_id: repository to download the folder from if it is not there.

    Raises:
        UserError: if the folder, the table or one of its columns is missing, or it holds no records.
    """

    def __init__(
        self,
        root: str,
        image_column: str = "image",
        prompt_column: Columns = "prompt",
        background_color: str = "white",
        dataset_id: str | None = None,
    ) -> None:
        self.root = Path(root)
        captions = Captions(prompt_column)
        failure = None
        if dataset_id is not None and not self.root.exists():
            failure = fetch_dataset(dataset_id, self.root)
        if not self.root.is_dir():
            raise UserError(
                f"data.root={root}: there is no such folder (looked in {self.root.absolute()}). "
                + (failure or "Give the folder of your pictures with data.root=PATH.")
            )
        self.background_color = require_color(background_color)
        self.pictures = self.root / "images" if (self.root / "images").is_dir() else self.root
        table = next((self.root / name for name in TABLES if (self.root / name).is_file()), None)
        if table is None:
            self._pictures = list(_text_files(self.pictures))
        else:
            rows = list(read_table(table))
            _require_columns(table, rows, image_column, captions)
            self._pictures = [picture for row in rows for picture in _of_row(row, image_column, captions)]
        if not self._pictures:
            raise UserError(
                f"{table or self.pictures}: no records. A data set needs at least one picture: a row in "
                f"{', '.join(TABLES)}, or a picture with a .txt file of the same name."
            )

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Record:
        picture = self._pictures[index]
        path = self.pictures / picture.image
        return Record(
            key=picture.image or picture.place,
            prompt=next(iter(picture.prompts), ""),
            load=partial(self._load, picture, path),
            path=path if picture.problem is None else None,
            prompts=picture.prompts if len(picture.prompts) > 1 else None,
        )

    def _load(self, picture: _Picture, path: Path) -> Image.Image:
        place, image = picture.place, picture.image
        if picture.problem is not None:
            raise UserError(f"{place}: {picture.problem}")
        try:
            inside, exists = path.resolve().is_relative_to(self.pictures.resolve()), path.is_file()
        except (OSError, ValueError, RuntimeError):  # with a NUL, longer than the file system allows, a loop of links
            raise UserError(f"{place}: image {image[:200]!r} is not a file name") from None
        if not inside:
            raise UserError(f"{place}: image {image!r} points outside {self.pictures}")
        if not exists:
            raise UserError(f"{place}: image {image!r} does not exist (looked in {self.pictures})")
        try:
            return read_picture(path, self.background_color)
        except UserError as error:
            raise UserError(f"{place}: image {image!r} {error}") from None


def require_color(name: str) -> str:
    """The name of a colour, if it is one.

    Raises:
        UserError: if it is not.
    """
    try:
        ImageColor.getrgb(name)
    except ValueError:
        raise UserError(f"data.background_color={name}: not a colour; use a name such as white or '#ffffff'.") from None
    return name


def _require_columns(table: Path, rows: list[Row], image_column: str, captions: Captions) -> None:
    present = list(dict.fromkeys(column for row in rows for column in row.values))
    if rows and image_column not in present:
        raise UserError(
            f"{table.name}: no column {image_column!r}; there is: {', '.join(present) or 'none'}. "
            "Set data.image_column=NAME."
        )
    if rows:
        captions.require_any(present, table.name)


def _of_row(row: Row, image_column: str, captions: Captions) -> Iterator[_Picture]:
    images = row.values.get(image_column)
    named: list[Any] = images if isinstance(images, list) else [images]
    prompts: dict[str, float] = {}
    problem = row.problem
    try:
        prompts = captions.of(row.values)
    except UserError as error:
        problem = problem or str(error)
    for image in named or [None]:
        if isinstance(image, str) and image:
            yield _Picture(image, row.place, prompts, problem)
        else:
            wrong = f"column {image_column!r} is empty or not text; it must name a picture"
            yield _Picture("", row.place, prompts, wrong)


def _text_files(folder: Path) -> Iterator[_Picture]:
    for path in sorted(folder.rglob("*")):
        text = path.with_suffix(".txt")
        if path.suffix.lower() not in PICTURE_SUFFIXES or not text.is_file():
            continue
        name, place = str(path.relative_to(folder)), str(text.relative_to(folder))
        try:
            yield _Picture(name, place, {text.read_text(encoding="utf-8-sig").strip(): 1.0})
        except UnicodeDecodeError as error:
            yield _Picture(name, place, problem=f"not UTF-8 ({error})")
