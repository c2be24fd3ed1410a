"""Data sets of Hugging Face's `datasets` on disk: what `save_to_disk` writes, or a folder of Parquet files."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.data.captions import Captions, Columns
from aaa.data.columns import PROMPT_COLUMNS, column_of, missing, usual_columns
from aaa.data.endings import is_document, suffix
from aaa.data.folders import data_folder, files_below, why_unreadable
from aaa.data.imagefolder import require_color
from aaa.data.left_out import LeftOut
from aaa.data.pictures import decode_picture, read_picture
from aaa.data.records import Record, Split
from aaa.data.split_names import settle_splits, split_of_name, split_words
from aaa.errors import UserError

PICTURES = ("image", "img", "picture", "photo", "jpg", "png", "webp", "images", "pixel_values")
TEXTS = tuple(dict.fromkeys(("text", "caption", "prompt", *PROMPT_COLUMNS, "txt")))
# What save_to_disk writes beside the rows.
BESIDE = frozenset({"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"})


class HuggingFaceSource:
    """Records of a data set on disk, nothing of which is downloaded.

    Where it has splits, those called `validation`, `valid`, `val`, `dev`, `test`, `testing`, `eval` or `evaluation`
    are held out. What is left out is told in one warning.

    Args:
        path: folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` made, or one with Parquet files.
        image_column: column with the pictures; None for the one that holds pictures.
        prompt_column: column with the prompt, several columns, or columns with weights; None for the first usual one.
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
        root = data_folder(path)
        self.files = _files(root, path)
        self._records: list[tuple[Any, str, int, dict[str, float], str | None]] = []
        loaded = _load(root, self.files)
        for name, split in loaded.items():
            where = f"data.path={path}"
            self.image_column = image_column = _image_column(split.features, image_column, where)
            captions.require_any(split.column_names, where)
            pictures = _undecoded(split.select_columns([image_column]), image_column, path)
            texts = split.select_columns([column for column in captions.weights if column in split.column_names])
            for index, row in enumerate(texts):
                try:
                    self._records.append((pictures, name, index, captions.of(row), None))
                except UserError as error:
                    self._records.append((pictures, name, index, {}, str(error)))
        if not self._records:
            raise UserError(f"data.path={path}: the data set is empty.")
        named = {name: split_of_name(name) for name, split in loaded.items() if len(split)}
        self._splits: dict[str, Split | None] = settle_splits(named, f"data.path={path}", "splits")

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        _, split, row, prompts, _ = self._records[index]
        return Record(
            key=f"{split}[{row}]",
            prompt=next(iter(prompts), ""),
            load=partial(self._picture, index),
            split=self._splits[split],
            prompts=prompts if len(prompts) > 1 else None,
        )

    def _picture(self, index: int) -> Image.Image:
        pictures, split, row, _, problem = self._records[index]
        try:
            if problem is not None:
                raise UserError(problem)
            value = pictures[row][self.image_column]
            if value is None:
                raise UserError("has no picture")
            if value["bytes"] is not None:
                return decode_picture(value["bytes"], self.background_color)
            return read_picture(Path(value["path"]), self.background_color)
        except UserError as error:
            raise UserError(f"{split}[{row}]: {error}") from None


def _files(root: Path, path: str) -> list[Path]:
    """The Arrow files of a data set, or if there are none its Parquet files; what else is there is counted.

    Raises:
        UserError: if there are neither, or only pointers to them.
    """
    left_out = LeftOut(root)
    names = files_below(root, left_out) if root.is_dir() else []
    kind = next((kind for kind in (".arrow", ".parquet") if any(suffix(name) == kind for name in names)), None)
    for name in names:
        if suffix(name) == ".parquet" and kind == ".arrow":
            left_out.add("Parquet files beside Arrow files, which are read instead", name)
        elif is_document(name):
            left_out.add_no_data("documents", name)
        elif suffix(name) != kind and Path(name).name not in BESIDE:
            left_out.add("files of other kinds", name)
    if kind is None:
        found = f" There is: {left_out}." if str(left_out) else ""
        raise UserError(
            f"data.path={path}: no data set there (looked for .arrow and .parquet files in {root.absolute()}).{found} "
            "Dataset.save_to_disk(PATH) writes one."
        )
    left_out.tell()
    files = sorted(root / name for name in names if suffix(name) == kind)
    for file in files:
        if (problem := why_unreadable(file)) is not None:
            raise UserError(f"{file}: {problem}.")
    return files


def _load(root: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Splits by name; a data set without splits is one called `data`."""
    try:
        from datasets import DatasetDict, load_dataset, load_from_disk
        from datasets.utils.logging import set_verbosity
    except ImportError:
        raise UserError('data=huggingface needs the datasets package: pip install -e ".[datasets]"') from None
    set_verbosity(logging.CRITICAL)  # what is wrong is raised as well
    try:
        if suffix(files[0].name) == ".parquet":
            loaded = load_dataset("parquet", data_files=_parquet_splits(root, files))
        elif saved := _saved_apart(root):
            loaded = DatasetDict({folder.name: load_from_disk(str(folder)) for folder in saved})
        else:
            loaded = load_from_disk(str(root))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"data.path={root}: datasets cannot read it ({reason}).") from error
    return dict(loaded) if isinstance(loaded, DatasetDict) else {"data": loaded}


def _saved_apart(root: Path) -> list[Path]:
    """Data sets that were saved side by side, a folder each, without what `DatasetDict.save_to_disk` writes."""
    if (root / "dataset_dict.json").exists() or (root / "state.json").exists():
        return []
    return sorted(file.parent for file in root.glob("*/state.json"))


def _parquet_splits(root: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Parquet files by split, which their names say or those of their folders: `train-00000-of-00002`, `val/0000`.

    Files that are of no known split are one called `data`.
    """
    splits: dict[str, list[str]] = {}
    for file in files:
        name = file.relative_to(root).with_suffix("").as_posix()
        known = split_of_name(name) != "unknown"
        splits.setdefault(split_words(name)[0] if known else "data", []).append(str(file))
    return splits


def _image_column(features: Any, wanted: str | None, where: str) -> str:
    """The column with the pictures: as the config says, else the one whose type says so.

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
        raise UserError(missing("of pictures", present, where, "data.image_column"))
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
