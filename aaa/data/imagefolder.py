"""Pictures in a folder, their prompts in a table or in text files beside them."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageColor

from aaa.data.pictures import read_picture
from aaa.data.records import Record
from aaa.errors import UserError

TABLES = ("metadata.csv", "metadata.jsonl", "metadata_merged.csv")
PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class _Row:
    """A picture's name and prompt, and where they were said (`metadata.csv:17`)."""

    image: str
    prompt: str
    place: str


class ImageFolderSource:
    """Records from `metadata.csv`, `metadata.jsonl` or `metadata_merged.csv`, else from `.txt` files.

    A picture is looked for in `root/images` if there is such a folder, else in `root`.

    Args:
        root: the folder.
        image_column: column (or JSON key) with the picture's file name.
        prompt_column: column (or JSON key) with the prompt; empty prompts are allowed.
        background_color: a CSS colour to put behind transparent pictures.

    Raises:
        UserError: if the folder, the table or one of its columns is missing, or it holds no records.
    """

    def __init__(
        self,
        root: str,
        image_column: str = "image",
        prompt_column: str = "prompt",
        background_color: str = "white",
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(
                f"data.root={root}: there is no such folder (looked in {self.root.absolute()}). "
                "Give the folder of your pictures with data.root=PATH."
            )
        try:
            ImageColor.getrgb(background_color)
        except ValueError:
            raise UserError(
                f"data.background_color={background_color}: not a colour; use a name such as white or '#ffffff'."
            ) from None
        self.background_color = background_color
        self.pictures = self.root / "images" if (self.root / "images").is_dir() else self.root
        table = next((self.root / name for name in TABLES if (self.root / name).is_file()), None)
        if table is None:
            self._rows = list(_text_file_rows(self.pictures))
        elif table.suffix == ".csv":
            self._rows = list(_csv_rows(table, image_column, prompt_column))
        else:
            self._rows = list(_jsonl_rows(table, image_column, prompt_column))
        if not self._rows:
            raise UserError(
                f"{table or self.pictures}: no records. A data set needs at least one picture: a row in "
                f"{', '.join(TABLES)}, or a picture with a .txt file of the same name."
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row = self._rows[index]
        path = self.pictures / row.image
        return Record(key=row.image, prompt=row.prompt, load=partial(self._load, row, path), path=path)

    def _load(self, row: _Row, path: Path) -> Image.Image:
        try:
            inside, exists = path.resolve().is_relative_to(self.pictures.resolve()), path.is_file()
        except (OSError, ValueError):  # a name with a NUL, or longer than the file system allows
            raise UserError(f"{row.place}: image {row.image[:200]!r} is not a file name") from None
        if not inside:
            raise UserError(f"{row.place}: image {row.image!r} points outside {self.pictures}")
        if not exists:
            raise UserError(f"{row.place}: image {row.image!r} does not exist (looked in {self.pictures})")
        try:
            return read_picture(path, self.background_color)
        except UserError as error:
            raise UserError(f"{row.place}: image {row.image!r} {error}") from None


def _csv_rows(table: Path, image_column: str, prompt_column: str) -> Iterator[_Row]:
    csv.field_size_limit(2**31 - 1)
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or [])
            _require(table.name, columns, {"data.image_column": image_column, "data.prompt_column": prompt_column})
            for row in reader:
                place = f"{table.name}:{reader.line_num}"
                yield _row(place, row[image_column], row[prompt_column], image_column)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not a CSV file in UTF-8 ({error}).") from None


def _jsonl_rows(table: Path, image_column: str, prompt_column: str) -> Iterator[_Row]:
    try:
        with table.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"{table.name}:{number}"
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(f"{place}: not a JSON object with keys {image_column!r} and {prompt_column!r}.")
                _require(place, list(row), {"data.image_column": image_column, "data.prompt_column": prompt_column})
                yield _row(place, row[image_column], row[prompt_column], image_column)
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: not UTF-8 ({error}).") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{place}: not JSON ({error}).") from None


def _row(place: str, image: object, prompt: object, image_column: str) -> _Row:
    if not isinstance(image, str) or not image:
        raise UserError(f"{place}: column {image_column!r} is empty or not text; it must name a picture.")
    if not isinstance(prompt, str | None):
        raise UserError(f"{place}: the prompt is not text but {type(prompt).__name__}.")
    return _Row(image, prompt or "", place)


def _require(place: str, present: list[str], wanted: dict[str, str]) -> None:
    for key, column in wanted.items():
        if column not in present:
            raise UserError(f"{place}: no column {column!r}; there is: {', '.join(present) or 'none'}. Set {key}=NAME.")


def _text_file_rows(folder: Path) -> Iterator[_Row]:
    for path in sorted(folder.rglob("*")):
        text = path.with_suffix(".txt")
        if path.suffix.lower() not in PICTURE_SUFFIXES or not text.is_file():
            continue
        try:
            prompt = text.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise UserError(f"{text}: not UTF-8 ({error}).") from None
        yield _Row(str(path.relative_to(folder)), prompt, str(text.relative_to(folder)))
