"""WebDataset shards: tar files in which a picture and its captions share a name (github.com/webdataset/webdataset)."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.data.captions import Captions, Columns
from aaa.data.imagefolder import PICTURE_SUFFIXES, require_color
from aaa.data.pictures import MAX_BYTES, decode_picture
from aaa.data.records import Record
from aaa.errors import UserError

MAX_CAPTION_BYTES = 2**20


@dataclass
class _Sample:
    """What a shard holds under one name: where the picture lies, and the texts beside it."""

    shard: Path
    name: str
    picture: tuple[int, int] | None = None  # offset and bytes
    texts: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


class WebDatasetSource:
    """Records of all `.tar` files of a folder, read in place: nothing is unpacked, no name in a tar is ever a path.

    Captions are columns named after the files beside a picture: `txt` for `0001.txt`, and every key of `0001.json`.

    Args:
        path: the folder of shards, or one shard.
        prompt_column: column with the prompt, several columns, or columns with weights.
        background_color: a CSS colour to put behind transparent pictures.

    Raises:
        UserError: if there is no shard, one is cut short, or they hold no pictures.
    """

    def __init__(self, path: str, prompt_column: Columns = "txt", background_color: str = "white") -> None:
        root = Path(path)
        self.files = [root] if root.is_file() else sorted(root.glob("*.tar"))
        if not self.files:
            raise UserError(f"data.path={path}: no .tar file there (looked in {root.absolute()}).")
        self.background_color = require_color(background_color)
        captions = Captions(prompt_column)
        samples = [sample for shard in self.files for sample in _samples(shard) if sample.picture is not None]
        if not samples:
            raise UserError(f"data.path={path}: the shards hold no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}).")
        captions.require_any(list(dict.fromkeys(key for sample in samples for key in sample.texts)), self.files[0].name)
        self._samples = samples
        self._prompts = [_prompts(sample, captions) for sample in samples]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Record:
        sample, prompts = self._samples[index], self._prompts[index]
        return Record(
            key=f"{sample.shard.name}/{sample.name}",
            prompt=next(iter(prompts), ""),
            load=partial(self._load, sample),
            prompts=prompts if len(prompts) > 1 else None,
        )

    def _load(self, sample: _Sample) -> Image.Image:
        place = f"{sample.shard.name}: {sample.name!r}"
        if sample.problem is not None:
            raise UserError(f"{place} {sample.problem}")
        assert sample.picture is not None
        offset, size = sample.picture
        with sample.shard.open("rb") as shard:
            shard.seek(offset)
            content = shard.read(size)
        try:
            return decode_picture(content, self.background_color)
        except UserError as error:
            raise UserError(f"{place} {error}") from None


def _prompts(sample: _Sample, captions: Captions) -> dict[str, float]:
    try:
        return captions.of(sample.texts)
    except UserError as error:
        sample.problem = sample.problem or str(error)
        return {}


def _samples(shard: Path) -> Iterator[_Sample]:
    """Samples of a shard in its order; a sample's files follow each other."""
    sample: _Sample | None = None
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                if not member.isreg() or not stem or not extension:
                    continue
                name = f"{folder}/{stem}" if folder else stem
                if sample is None or sample.name != name:
                    if sample is not None:
                        yield sample
                    sample = _Sample(shard, name)
                _add(sample, extension.lower(), member, tar)
            end = tar.offset
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{shard}: not a whole tar file ({error}). Is the download or copy complete?") from None
    with shard.open("rb") as whole:
        whole.seek(end)
        marker = whole.read(tarfile.BLOCKSIZE)
    if marker != bytes(tarfile.BLOCKSIZE):  # tarfile takes a tar that stops between two files for a whole one
        raise UserError(f"{shard}: the tar file is cut short. Is the download or copy complete?")
    if sample is not None:
        yield sample


def _add(sample: _Sample, extension: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    if f".{extension}" in PICTURE_SUFFIXES:
        if member.size > MAX_BYTES:
            sample.problem = f"has a .{extension} of {member.size} bytes, far too large for a picture"
        sample.picture = (member.offset_data, member.size)
        return
    if extension not in ("txt", "json", "caption", "text"):
        return
    if member.size > MAX_CAPTION_BYTES:
        sample.problem = f"has a .{extension} of {member.size} bytes, more than any caption"
        return
    content = tar.extractfile(member)
    assert content is not None
    try:
        text = content.read().decode("utf-8-sig")
        if extension == "json":
            values = json.loads(text)
            if not isinstance(values, dict):
                sample.problem = "has a .json that is not an object"
                return
            sample.texts |= values
        else:
            sample.texts[extension] = text.strip()
    except (ValueError, RecursionError) as error:
        sample.problem = f"has a .{extension} that cannot be read ({error})"
