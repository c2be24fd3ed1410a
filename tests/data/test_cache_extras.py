"""Further tensors of each record in a cache: computed once, gathered with the record."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaa.data import cache_extras
from aaa.data import cache_writer as cache_module
from aaa.data.cache_extras import open_extra
from aaa.data.shapes import ShapesSource
from tests.data.test_cache import build


class Computing:
    """Twice the mean of each latent, counting what it is asked for."""

    def __init__(self) -> None:
        self.computed = 0

    def __call__(self, latents: Tensor) -> Tensor:
        self.computed += len(latents)
        return 2 * latents.mean(dim=1, keepdim=True)


def test_extras_are_computed_once_and_come_with_their_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 10_000)  # several shards
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=20, num_validation=3))
    assert len(cache.shard_sizes) > 2
    assert cache.batch(torch.tensor([0])).extras == {}
    first, again, other = Computing(), Computing(), Computing()
    open_extra(cache, "mean", "v1", first)
    indices = torch.tensor([22, 0, 7, 7, 13])
    batch = cache.batch(indices)
    torch.testing.assert_close(batch.extras["mean"], 2 * batch.latents.mean(dim=1, keepdim=True), atol=2e-3, rtol=0)
    assert torch.equal(batch.latents, cache.gather(indices)[0])
    reopened = build(tmp_path / "cache", ShapesSource(16, num_records=20, num_validation=3))
    open_extra(reopened, "mean", "v1", again)
    open_extra(reopened, "other", "v2", other)
    assert (first.computed, again.computed, other.computed) == (23, 0, 23)
    assert torch.equal(reopened.batch(indices).extras["mean"], batch.extras["mean"])


def test_of_large_latents_a_few_are_computed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_extras, "BATCH_BYTES", 3 * 4 * 3 * 16 * 16)  # of three pictures as float32
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=8, num_validation=0))
    sizes: list[int] = []

    def compute(latents: Tensor) -> Tensor:
        sizes.append(len(latents))
        return latents.mean(dim=1)

    open_extra(cache, "mean", "v1", compute)
    assert sizes == [3, 3, 2]


def test_a_damaged_file_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=6, num_validation=0))
    open_extra(cache, "mean", "v1", Computing())
    (file,) = (tmp_path / "cache" / "extras").iterdir()
    whole = cache.batch(torch.arange(6)).extras["mean"].clone()
    file.write_bytes(b"not a tensor")
    again = Computing()
    open_extra(cache, "mean", "v1", again)
    assert again.computed == 6
    assert "is damaged" in caplog.text
    assert torch.equal(cache.batch(torch.arange(6)).extras["mean"], whole)


def test_where_it_cannot_be_written_it_is_held_in_memory_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=6, num_validation=0))
    (tmp_path / "cache" / "extras").write_text("in the way")
    open_extra(cache, "mean", "v1", Computing())
    assert re.search(r"cache/extras: cannot be written .* mean is held in memory.* data\.cache_dir=FOLDER", caplog.text)
    batch = cache.batch(torch.arange(6))
    torch.testing.assert_close(batch.extras["mean"], 2 * batch.latents.mean(dim=1, keepdim=True), atol=2e-3, rtol=0)


def test_what_is_alike_in_a_batch_is_told(tmp_path: Path) -> None:
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=40, num_validation=0))
    batch = cache.batch(torch.tensor([3, 5, 3, *range(40)]))
    prompts = [cache.records[index].prompt for index in [3, 5, 3, *range(40)]]
    pictures = [cache.records[index].picture for index in [3, 5, 3, *range(40)]]
    for found, texts in ((batch.captions, prompts), (batch.pictures, pictures)):
        for i, one in enumerate(texts):
            assert [bool(found[i] == other) for other in found] == [one == text for text in texts]
