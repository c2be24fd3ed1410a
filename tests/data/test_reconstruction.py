"""Cached latents are decoded beside the pictures that they were made from."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from aaa.data.buckets import square
from aaa.data.cache import LatentCache
from aaa.data.records import Record
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from aaa.evaluation.reconstruction import reconstruct
from tests.helpers.built_cache import built


class Named:
    """Records with these keys, of which some cannot be read."""

    def __init__(self, keys: str, broken: str) -> None:
        self.keys, self.broken = keys, broken

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Record:
        def load() -> Image.Image:
            if self.broken[index] == "x":
                raise UserError(f"{index} is broken")
            return Image.new("RGB", (16, 16), (index * 20, 0, 0))

        return Record(self.keys[index], f"number {index}", load)


def cache_of(folder: Path, source: Named) -> LatentCache:
    return built(
        folder / "cache",
        source,
        lambda: (PixelVAE(4), WordEmbedding(32, 6)),
        identify=lambda record: record.prompt,
        fit=square(16),
        horizontal_flip=True,
        skip_unreadable=True,
        batch_size=2,
        fingerprint="abc",
        recipe="def",
        storage_dtype=torch.float32,
        origin={},
    )


@pytest.mark.parametrize(
    ("keys", "broken", "shown"),
    [
        ("aab", "   ", [0, 2]),
        ("aab", "x  ", [1, 2]),
        ("aab", " x ", [0, 2]),
        ("abc", "   ", [0, 1, 2]),
        ("abb", "  x", [0, 1]),
    ],
)
def test_records_that_were_left_out_are_passed_over(tmp_path: Path, keys: str, broken: str, shown: list[int]) -> None:
    source = Named(keys, broken)
    found = reconstruct(cache_of(tmp_path, source), PixelVAE(4), source, square(16), 8)
    assert found.prompts == [f"number {index}" for index in shown]
    assert found.psnr.isinf().all()
    assert len(found.originals) == len(found.decoded) == len(shown)


def test_pictures_that_are_all_gone_are_one_clear_error(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, Named("ab", "  "))
    for now in (Named("cd", "  "), Named("ab", "xx")):
        with pytest.raises(UserError, match="none of its first 8 pictures can be read in the data"):
            reconstruct(cache, PixelVAE(4), now, square(16), 8)
