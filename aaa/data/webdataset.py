"""WebDataset shards: tar files in which a picture and its captions share a name (github.com/webdataset/webdataset)."""

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from aaa.data.captions import Captions, Columns
from aaa.data.columns import PROMPT_COLUMNS
from aaa.data.divisions import Division, by_column, by_folder, by_name, settle, split_column, split_value
from aaa.data.endings import PACKED, is_document, suffix
from aaa.data.folders import data_folder, files_below, require_place
from aaa.data.left_out import LeftOut
from aaa.data.other_kinds import other_kind
from aaa.data.pictures import MAX_BYTES, decode_picture, require_color
from aaa.data.records import Record
from aaa.data.shards import Sample, samples_of
from aaa.errors import UserError, reason

# The order in which captions are looked for where the config names no column: files first, then keys of the .json.
TEXTS = tuple(dict.fromkeys(("txt", "caption", "text", *PROMPT_COLUMNS)))
PREFERRED = (".jpg", ".jpeg", ".png", ".webp")  # where a sample has more than one picture


class _Placed(NamedTuple):
    """A sample's picture: its shard, its key, where it lies, its prompts, what is wrong with it, and what a key of its
    JSON says of where it belongs."""

    shard: int
    name: str
    picture: tuple[int, int]
    prompts: dict[str, float]
    problem: str | None
    part: str | None


class WebDatasetSource:
    """Records of all `.tar` files of a folder, read in place: nothing is unpacked, no name in a tar is ever a path.

    Captions are columns named after the files beside a picture: `txt` for `0001.txt`, and every key of `0001.json`.
    Shards whose names or folders say that they are a split (`train-0000.tar`, `val/0000.tar`) divide the records. What
    is left out is told in one warning.

    Args:
        path: the folder of shards, or one shard.
        prompt_column: column with the prompt, several columns, or columns with weights; None for the first usual one.
        background_color: a CSS colour to put behind transparent pictures.
        image_column: ending of the pictures, `png` or `mask.png`, where a sample has several; None for the first.

    Raises:
        UserError: if there is no shard, one is cut short, or they hold no pictures.
    """

    def __init__(
        self,
        path: str,
        prompt_column: Columns | None = None,
        background_color: str = "white",
        image_column: str | None = None,
    ) -> None:
        self.background_color = require_color(background_color)
        captions = Captions(prompt_column, usual=TEXTS)
        self._root, self._names, left_out = _shards(path)
        self.files = [self._root / name for name in self._names]
        self._samples: list[_Placed] = []
        read = [
            samples_of(file, name, captions.weights, left_out)
            for file, name in zip(self.files, self._names, strict=True)
        ]
        with_picture = [_pictured(samples, self._names[i], image_column, left_out) for i, samples in enumerate(read)]
        texts = dict.fromkeys(key for samples in with_picture for sample in samples for key in sample.texts)
        if not any(with_picture):
            wanted = f" called .{image_column}" if image_column else ""
            found = f" There is: {left_out}." if str(left_out) else ""
            raise UserError(f"data.path={path}: the shards hold no pictures{wanted}.{found}")
        _settle(captions, list(texts), self._names[0], with_picture, left_out)
        with_picture = [_captioned(samples, self._names[i], left_out) for i, samples in enumerate(with_picture)]
        all_texts = (sample.texts for samples in with_picture for sample in samples)
        belongs = split_column(texts, all_texts, captions.weights)
        for number, samples in enumerate(with_picture):
            self._samples += [_placed(sample, number, captions, belongs) for sample in samples]
        left_out.tell()
        self._splits = settle(_divisions(self._samples, self._names, path), path)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Record:
        sample = self._samples[index]
        return Record(
            key=f"{self._names[sample.shard]}/{sample.name}",
            prompt=next(iter(sample.prompts), ""),
            load=partial(self._load, sample),
            split=self._splits[index],
            prompts=sample.prompts if len(sample.prompts) > 1 else None,
            digest=partial(self._digest, sample),
        )

    def _load(self, sample: _Placed) -> Image.Image:
        content = self._content(sample)
        try:
            return decode_picture(content, self.background_color)
        except UserError as error:
            raise UserError(f"{self._place(sample)} {error}") from None

    def _digest(self, sample: _Placed) -> str:
        return hashlib.sha256(self._content(sample)).hexdigest()

    def _content(self, sample: _Placed) -> bytes:
        if sample.problem is not None:
            raise UserError(f"{self._place(sample)} {sample.problem}")
        offset, size = sample.picture
        try:
            with self.files[sample.shard].open("rb") as shard:
                shard.seek(offset)
                return shard.read(size)
        except OSError as error:
            raise UserError(f"{self._place(sample)} cannot be read ({reason(error)})") from None

    def _place(self, sample: _Placed) -> str:
        return f"{self._names[sample.shard]}: {sample.name!r}"


def _shards(path: str) -> tuple[Path, list[str], LeftOut]:
    """The folder of shards, their names in it, and what else lies there.

    Raises:
        UserError: if there is none.
    """
    require_place(path, "data.path")
    root = Path(path)
    if root.is_file():
        return root.parent, [root.name], LeftOut(root)
    if not root.is_dir():
        raise UserError(
            f"data.path={path}: no .tar file there (looked in {root.absolute()}). Give a shard, or a folder of shards."
        )
    root = data_folder(root)
    left_out = LeftOut(root)
    files = files_below(root, left_out)
    shards = [file for file in files if suffix(file) == ".tar"]
    for file in (file for file in files if suffix(file) != ".tar"):
        if suffix(file) in PACKED:
            left_out.add("compressed files, to be unpacked to a plain .tar first", file)
        elif is_document(file):
            left_out.add_no_data("documents", file)
        else:
            left_out.add("files that are no shards", file)
    if not shards:
        found = f" There is: {left_out}." if str(left_out) else ""
        raise UserError(
            f"data.path={path}: no .tar file there (looked in {root.absolute()}).{found}{other_kind(root, files)}"
        )
    return root, shards, left_out


def _pictured(samples: list[Sample], shard: str, image_column: str | None, left_out: LeftOut) -> list[Sample]:
    """Samples with the one picture that is read of each."""
    kept = []
    for sample in samples:
        place = f"{shard}/{sample.name}"
        if not sample.pictures:
            if is_document(place):
                left_out.add_no_data("documents", place)
            else:
                left_out.add("captions without a picture", place)
            continue
        wanted = f".{image_column.lstrip('.').lower()}" if image_column else min(sample.pictures, key=_preference)
        for ending in sample.pictures:
            if ending != wanted:
                left_out.add(f"further pictures of a sample, of which {wanted} is read", place + ending)
        if wanted in sample.pictures:
            sample.pictures = {wanted: sample.pictures[wanted]}
            kept.append(sample)
    return kept


def _captioned(samples: list[Sample], shard: str, left_out: LeftOut) -> list[Sample]:
    """Samples with a text; a picture alone is no record, as it is none in a folder of pictures."""
    for sample in samples:
        if not sample.texts and sample.problem is None:
            left_out.add("pictures without a caption", f"{shard}/{sample.name}")
    return [sample for sample in samples if sample.texts or sample.problem is not None]


def _preference(ending: str) -> tuple[int, int, str]:
    return ending.count("."), PREFERRED.index(ending) if ending in PREFERRED else len(PREFERRED), ending


def _settle(captions: Captions, columns: list[str], where: str, samples: list[list[Sample]], left_out: LeftOut) -> None:
    """Choose the captions' column; a key of the .json that says the same as a file is nothing to warn of.

    Raises:
        UserError: if there is none, with what there is instead.
    """
    if not captions.weights and (first := next((name for name in TEXTS if name in columns), None)) is not None:
        captions.weights = {first: 1.0}
    try:
        captions.settle(columns, where)
    except UserError as error:
        problems = (f"{sample.name!r} {sample.problem}" for shard in samples for sample in shard if sample.problem)
        found = [f"There is: {left_out}."] if str(left_out) else []
        found += [f"And {problem}." for problem in islice(problems, 1)]
        raise UserError(" ".join([str(error), *found])) from None


def _divisions(samples: list[_Placed], shards: list[str], path: str) -> Iterator[Division]:
    """What may say where each sample belongs: its shard's name, a key of its JSON, a folder within its shard."""
    names = by_name([shards[sample.shard] for sample in samples], "shards")
    if any(sample.part for sample in samples) and not names.decides:
        yield by_column([sample.part for sample in samples], path)
    yield names
    yield by_folder([f"{shards[sample.shard]}/{sample.name}" for sample in samples])


def _placed(sample: Sample, shard: int, captions: Captions, belongs: str | None) -> _Placed:
    prompts: dict[str, float] = {}
    problem = sample.problem
    ((ending, picture),) = sample.pictures.items()
    if picture[1] > MAX_BYTES:
        problem = problem or f"has a {ending} of {picture[1]} bytes, far too large for a picture"
    if not captions.weights.keys() & sample.texts.keys():
        problem = problem or f"has no {' or '.join(captions.weights)}, neither as a file nor as a key of its .json"
    try:
        prompts = captions.of(sample.texts)
    except UserError as error:
        problem = problem or str(error)
    part = split_value(sample.texts.get(belongs)) if belongs else None
    return _Placed(shard, sample.name, picture, prompts, problem, part)
