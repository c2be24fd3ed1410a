"""Data sets of Hugging Face's `datasets` on disk: what `save_to_disk` writes, or a folder of Parquet files."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.data.captions import Captions, Columns
from aaa.data.imagefolder import require_color
from aaa.data.pictures import decode_picture, read_picture
from aaa.data.records import Record, Split
from aaa.errors import UserError

SPLITS: dict[str, Split] = {"train": "train", "validation": "validation", "valid": "validation", "test": "validation"}


class HuggingFaceSource:
    """Records of a data set on disk, nothing of which is downloaded.

    Where it has splits, `validation`, `valid` and `test` are held out.

    Args:
        path: folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` made, or one with Parquet files.
        image_column: column with the pictures.
        prompt_column: column with the prompt, several columns, or columns with weights.
        background_color: a CSS colour to put behind transparent pictures.

    Raises:
        UserError: if there is no data set, or it has no such columns.
    """

    def __init__(
        self,
        path: str,
        image_column: str = "image",
        prompt_column: Columns = "text",
        background_color: str = "white",
    ) -> None:
        root = Path(path)
        self.background_color = require_color(background_color)
        self.image_column = image_column
        captions = Captions(prompt_column)
        self.files = sorted(file for suffix in ("*.arrow", "*.parquet") for file in root.rglob(suffix))
        if not self.files:
            raise UserError(
                f"data.path={path}: no data set there (looked for .arrow and .parquet files in {root.absolute()}). "
                "Dataset.save_to_disk(PATH) writes one."
            )
        self._records: list[tuple[Any, str, int, dict[str, float], str | None]] = []
        for name, split in _load(root).items():
            if image_column not in split.column_names:
                raise UserError(
                    f"data.path={path}: no column {image_column!r}; there is: {', '.join(split.column_names)}. "
                    "Set data.image_column=NAME."
                )
            captions.require_any(split.column_names, f"data.path={path}")
            pictures = _undecoded(split.select_columns([image_column]), image_column, path)
            texts = split.select_columns([column for column in captions.weights if column in split.column_names])
            for index, row in enumerate(texts):
                try:
                    self._records.append((pictures, name, index, captions.of(row), None))
                except UserError as error:
                    self._records.append((pictures, name, index, {}, str(error)))
        if not self._records:
            raise UserError(f"data.path={path}: the data set is empty.")

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        _, split, row, prompts, _ = self._records[index]
        return Record(
            key=f"{split}[{row}]",
            prompt=next(iter(prompts), ""),
            load=partial(self._picture, index),
            split=SPLITS.get(split),
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


def _load(root: Path) -> dict[str, Any]:
    """Splits by name; a data set without splits is one called `data`."""
    try:
        from datasets import DatasetDict, load_dataset, load_from_disk
        from datasets.utils.logging import set_verbosity
    except ImportError:
        raise UserError('data=huggingface needs the datasets package: pip install -e ".[datasets]"') from None
    set_verbosity(logging.CRITICAL)  # what is wrong is raised as well
    try:
        if next(root.rglob("*.arrow"), None) is not None:
            loaded = load_from_disk(str(root))
        else:
            files: dict[str, list[str]] = {}
            for file in sorted(root.rglob("*.parquet")):  # train-00000-of-00002.parquet, as the Hub names them
                split = file.stem.split("-")[0]
                files.setdefault(split if split in SPLITS else "data", []).append(str(file))
            loaded = load_dataset("parquet", data_files=files)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"data.path={root}: datasets cannot read it ({reason}).") from error
    return dict(loaded) if isinstance(loaded, DatasetDict) else {"data": loaded}


def _undecoded(pictures: Any, column: str, path: str) -> Any:
    """The pictures' files instead of pictures, which we decode with the same care as those of a folder."""
    from datasets import Image as ImageFeature

    try:
        return pictures.cast_column(column, ImageFeature(decode=False))
    except Exception as error:
        raise UserError(f"data.path={path}: column {column!r} does not hold pictures ({error}).") from error
