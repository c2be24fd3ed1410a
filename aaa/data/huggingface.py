"""Data sets of Hugging Face's `datasets` on disk: what `save_to_disk` writes, or a folder of Parquet files."""

import glob
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pyarrow import ArrowException
from pyarrow.compute import struct_field

from aaa.data.captions import Captions, Columns
from aaa.data.columns import PROMPT_COLUMNS, column_of, missing, usual_columns
from aaa.data.divisions import Division, by_column, by_name, settle, split_column, split_value
from aaa.data.endings import is_document, is_picture, shown, suffix
from aaa.data.folders import data_folder, files_below, require_place, why_unreadable
from aaa.data.left_out import LeftOut
from aaa.data.other_kinds import other_kind
from aaa.data.picture_names import Found, PictureNames
from aaa.data.pictures import decode_picture, read_picture, require_color
from aaa.data.records import Record
from aaa.data.split_names import split_of_name, split_words
from aaa.errors import UserError, reason

logger = logging.getLogger(__name__)

PICTURES = ("image", "img", "picture", "photo", "jpg", "png", "webp", "images", "pixel_values")
TEXTS = tuple(dict.fromkeys(("text", "caption", "prompt", *PROMPT_COLUMNS, "txt")))
# What save_to_disk writes beside the rows.
BESIDE = frozenset({"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"})
KINDS = (".arrow", ".parquet")  # the former are read, and the latter only where there are none
ROWS_AT_ONCE = 1000


class _Row(NamedTuple):
    """A row: the column with its picture, its split and number there, the file that it names instead (relative to the
    data set), its prompts, what is wrong with it, and what a column says of where it belongs."""

    pictures: Any
    split: str
    number: int
    file: str | None
    prompts: dict[str, float]
    problem: str | None
    part: str | None


class HuggingFaceSource:
    """Records of a data set on disk, nothing of which is downloaded.

    Where it has splits, those called `validation`, `valid`, `val`, `dev`, `test`, `testing`, `eval` or `evaluation`
    are held out. What is left out is told in one warning.

    Args:
        path: folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` made, one with Parquet files, or one such
            file.
        image_column: column with the pictures; None for the one that holds pictures.
        prompt_column: column with the prompt, several columns, or columns with weights; None for the first usual one.
            Classes are read by their names.
        background_color: a CSS colour to put behind transparent pictures.

    Raises:
        UserError: if there is no data set, or it has no such columns.
    """

    def __init__(
        self,
        path: str,
        image_column: str | None = None,
        prompt_column: Columns | None = None,
        background_color: str = "white",
    ) -> None:
        self.background_color = require_color(background_color)
        captions = Captions(prompt_column, usual=TEXTS)
        self._root, self.files, names = _files(path)
        root = self._root
        named = PictureNames(root, names)
        self._rows: list[_Row] = []
        where = f"data.path={path}"
        other = other_kind(root, [name for name in names if suffix(name) not in KINDS])
        for name, split in _load(root, self.files).items():
            self.image_column = image_column = _image_column(split.features, image_column, where, other)
            captions.settle(split.column_names, where)
            pictures = _undecoded(split.select_columns([image_column]), image_column, path)
            self._rows += _rows(name, split, pictures, _named_pictures(pictures, image_column, named), captions)
        if not self._rows:
            raise UserError(f"data.path={path}: the data set is empty.")
        self._splits = settle(_divisions(self._rows, where), where)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row = self._rows[index]
        return Record(
            key=f"{row.split}[{row.number}]",
            prompt=next(iter(row.prompts), ""),
            load=partial(self._picture, row),
            split=self._splits[index],
            path=None if row.file is None else self._root / row.file,
            prompts=row.prompts if len(row.prompts) > 1 else None,
            digest=None if row.file is not None else partial(self._digest, row),
        )

    def _picture(self, row: _Row) -> Image.Image:
        with _placed(row):
            if row.file is None:
                return decode_picture(self._content(row), self.background_color)
            return self._named(row.file)

    def _named(self, file: str) -> Image.Image:
        path = self._root / file
        try:
            return read_picture(path, self.background_color)
        except UserError as error:
            raise UserError(f"image {shown(file)!r} {why_unreadable(path) or error}") from None

    def _digest(self, row: _Row) -> str:
        with _placed(row):
            return hashlib.sha256(self._content(row)).hexdigest()

    def _content(self, row: _Row) -> bytes:
        """The file of a picture that lies in its row."""
        if row.problem is not None:
            raise UserError(row.problem)
        try:
            picture = row.pictures[row.number][self.image_column]
        except (OSError, ArrowException) as error:
            raise UserError(f"cannot be read ({reason(error)})") from None
        if picture is None or picture["bytes"] is None:
            raise UserError("has no picture")
        content: bytes = picture["bytes"]
        return content


@contextmanager
def _placed(row: _Row) -> Iterator[None]:
    """A block whose errors say which row they are of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{row.split}[{row.number}]: {error}") from None


def _named_pictures(pictures: Any, column: str, names: PictureNames) -> Iterator[Found | None]:
    """What each row names as its picture, or None where the picture lies in the row.

    Only names are read: reading all pictures to see which are there would take long.
    """
    for table in pictures.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        elsewhere = struct_field(table[column], "bytes").is_null().to_pylist()
        for is_elsewhere, path in zip(elsewhere, struct_field(table[column], "path").to_pylist(), strict=True):
            if is_elsewhere and path:
                found = names.find(path, "")
                yield Found(found.file, found.problem and f"image {found.problem}{_no_name(path)}")
            else:
                yield None


def _no_name(name: str) -> str:
    """A hint at what stands in place of a picture's name."""
    if "://" in name:
        return "; pictures behind a URL are not fetched, img2dataset does that"
    return "; is it the picture itself, as text? It must be bytes" if len(name) > 1000 else ""


def _rows(name: str, split: Any, pictures: Any, named: Iterable[Found | None], captions: Captions) -> Iterator[_Row]:
    """The rows of a split with this name."""
    words = [name for name, feature in split.features.items() if getattr(feature, "dtype", "") == "string"]
    other = [column for column in words if column not in captions.weights]
    belongs = split_column(split.column_names, split.select_columns(other), set(split.column_names) - set(other))
    wanted = list(dict.fromkeys([*captions.weights, *([belongs] if belongs else [])]))
    classes = {name: split.features[name].names for name in captions.weights if _is_class(split.features[name])}
    for number, (row, found) in enumerate(zip(split.select_columns(wanted), named, strict=True)):
        part = split_value(row[belongs]) if belongs else None
        named_file = found or Found(None)
        try:
            prompts = captions.of(row | _named_classes(row, classes))
            yield _Row(pictures, name, number, named_file.file, prompts, named_file.problem, part)
        except UserError as error:
            yield _Row(pictures, name, number, None, {}, str(error), part)


def _is_class(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _named_classes(row: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The names of a row's classes, which are numbers in it; None where it has none or, as test splits do, -1."""
    numbers = {column: row[column] for column in classes}
    return {column: None if number in (None, -1) else classes[column][number] for column, number in numbers.items()}


def _divisions(rows: Sequence[_Row], where: str) -> Iterator[Division]:
    """What may say where each row belongs: its split, or a column, which counts where all is one split."""
    names = by_name([row.split for row in rows], "splits")
    if any(row.part for row in rows) and not names.decides:
        yield by_column([row.part for row in rows], where)
    yield names


def _files(path: str) -> tuple[Path, list[Path], list[str]]:
    """The folder of a data set, its Arrow files, or if there are none its Parquet files; and the names of all that is
    there. What is neither is counted.

    Raises:
        UserError: if there are neither, or only pointers to them.
    """
    require_place(path, "data.path")
    given = Path(path)
    if given.is_file():
        if suffix(given.name) != ".parquet":
            raise UserError(f"data.path={path}: is a file; give the folder of a data set, or a Parquet file.")
        return given.parent, [_whole(given)], [given.name]
    if not given.is_dir():
        raise UserError(f"data.path={path}: there is no such folder (looked in {given.absolute()}).")
    root = data_folder(given)
    left_out = LeftOut(root)
    names = files_below(root, left_out)
    kind = next((kind for kind in KINDS if any(suffix(name) == kind for name in names)), None)
    for name in names:
        if suffix(name) == ".parquet" and kind == ".arrow":
            left_out.add("Parquet files beside Arrow files, which are read instead", name)
        elif is_document(name):
            left_out.add_no_data("documents", name)
        elif is_picture(name):
            left_out.add("pictures, which are read only where a row names them", name)
        elif suffix(name) != kind and Path(name).name not in BESIDE:
            left_out.add("files of other kinds", name)
    if kind is None:
        found = f" There is: {left_out}." if str(left_out) else ""
        raise UserError(
            f"data.path={path}: no data set there (looked for .arrow and .parquet files in {root.absolute()}).{found} "
            f"Dataset.save_to_disk(PATH) writes one.{other_kind(root, names)}"
        )
    left_out.tell()
    return root, [_whole(file) for file in sorted(root / name for name in names if suffix(name) == kind)], names


def _whole(file: Path) -> Path:
    if (problem := why_unreadable(file)) is not None:
        raise UserError(f"{file}: {problem}.")
    return file


def _load(root: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Splits by name; a data set without splits is one called `data`."""
    try:
        from datasets import DatasetDict, config, load_dataset, load_from_disk
        from datasets.utils.logging import set_verbosity
    except ImportError:
        raise UserError('data=huggingface needs the datasets package: pip install -e ".[datasets]"') from None
    set_verbosity(logging.CRITICAL)  # what is wrong is raised as well
    try:
        if suffix(files[0].name) == ".parquet":
            logger.info(
                "datasets copies Parquet files into %s, and removes none; HF_DATASETS_CACHE=FOLDER has them elsewhere.",
                config.HF_DATASETS_CACHE,
            )
            loaded = load_dataset("parquet", data_files=_parquet_splits(root, files))
        elif saved := _saved_apart(root):
            loaded = DatasetDict({folder.name: load_from_disk(str(folder)) for folder in saved})
        else:
            loaded = load_from_disk(str(root))
    except Exception as error:
        raise UserError(f"data.path={root}: datasets cannot read it ({_first_cause(error)}).") from error
    return dict(loaded) if isinstance(loaded, DatasetDict) else {"data": loaded}


def _first_cause(error: BaseException) -> str:
    """What lies behind an error, its first and last line: datasets says of many no more than that there is one."""
    while (cause := error.__cause__ or error.__context__) is not None and str(cause).strip():
        error = cause
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ... ".join(dict.fromkeys([lines[0], lines[-1].strip()]))


def _saved_apart(root: Path) -> list[Path]:
    """Data sets that were saved side by side, a folder each, without what `DatasetDict.save_to_disk` writes."""
    if (root / "dataset_dict.json").exists() or (root / "state.json").exists():
        return []
    return sorted(file.parent for file in root.glob("*/state.json"))


def _parquet_splits(root: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Parquet files by split, which their names say or those of their folders: `train-00000-of-00002`, `val/0000`.

    Files that are of no known split are one called `data`. Each is a pattern that only the file itself matches, as
    datasets takes every name for a pattern.
    """
    splits: dict[str, list[str]] = {}
    for file in files:
        name = file.relative_to(root).with_suffix("").as_posix()
        known = split_of_name(name) != "unknown"
        splits.setdefault(split_words(name)[0] if known else "data", []).append(glob.escape(str(file)))
    return splits


def _image_column(features: Any, wanted: str | None, where: str, other: str) -> str:
    """The column with the pictures: as the config says, else the one whose type says so.

    Args:
        features: of the columns.
        wanted: by the config, or None.
        where: the data set, for messages.
        other: the kind of data that it may be instead, for messages.

    Raises:
        UserError: if there is none, or several of no usual name.
    """
    present = list(features)
    if wanted is not None:
        return column_of(wanted, present, where, "data.image_column", PICTURES)
    typed = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if len(typed) == 1:
        return typed[0]
    if typed and not usual_columns(typed, PICTURES):
        raise UserError(f"{where}: {', '.join(typed)} all hold pictures. Set data.image_column=NAME.")
    if not typed and not usual_columns(present, PICTURES):
        raise UserError(missing("of pictures", present, where, "data.image_column", PICTURES) + other)
    return column_of(None, typed or present, where, "data.image_column", PICTURES)


def _undecoded(pictures: Any, column: str, path: str) -> Any:
    """The pictures' files instead of pictures, which we decode with the same care as those of a folder."""
    from datasets import Image as ImageFeature

    if type(pictures.features[column]).__name__ in ("List", "LargeList", "Sequence", "list"):
        raise UserError(
            f"data.path={path}: column {column!r} holds lists; a row must have one picture. "
            "Give each picture a row of its own, or set data.image_column=NAME."
        )
    try:
        return pictures.cast_column(column, ImageFeature(decode=False))
    except Exception as error:
        raise UserError(f"data.path={path}: column {column!r} does not hold pictures ({error}).") from error
