"""Caches whose prompts are embedded when they are asked for: latents as the cache has them, prompts by their texts."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaa.data import cache_writer
from aaa.data.cache import LatentCache
from aaa.data.cache_extras import open_extra
from aaa.data.cached_records import CachedRecord
from aaa.data.live_prompts import LiveCache, LiveMixedCache, LivePrompts, LiveRemoteCache, latents_of
from aaa.data.shapes import ShapesSource
from aaa.encoders.embedding import embed
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.prompt_lengths import lengths_alone
from aaa.encoders.words import WordEmbedding
from aaa.run.latent_loader import LatentLoader
from tests.data.test_cache import build
from tests.data.test_large_cache import write

CPU = torch.device("cpu")
WORDS = WordEmbedding(32, 6)
SHAPES = ShapesSource(16, num_records=20, num_validation=3)
SOME = torch.tensor([22, 0, 7, 7, 13])


class Embedding:
    """Words, rounded as a cache of float16 rounds them, counting the prompts that it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        self.asked += len(prompts)
        return WORDS.encode([*prompts])[0].half().float()


def alive(cache: LivePrompts) -> Embedding:
    embedding = Embedding()
    cache.embed_with(embedding, embed(WORDS, [""])[0][0].half())
    return embedding


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatentCache:
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 10_000)  # several shards
    return build(tmp_path / "here", SHAPES)


@pytest.fixture
def alone(tmp_path: Path, here: LatentCache) -> LiveCache:
    """The same latents, of a cache without embeddings."""
    del here  # many shards here too
    encoders = PixelVAE(4), lengths_alone(WORDS)
    return LiveCache(build(tmp_path / "alone", SHAPES, encoders=lambda: encoders).path)


def require_same(cache: LivePrompts, other: LatentCache) -> None:
    """What is read of them is the same to the bit, trimmed or not."""
    for trim in (False, True):
        if trim:
            cache.trim_prompts()
            other.trim_prompts()
        for one, their in zip(cache.gather(SOME), other.gather(SOME), strict=True):
            assert torch.equal(one, their)
        batch, their_batch = cache.batch(SOME), other.batch(SOME)
        for one, their in zip(batch.on_device, their_batch.on_device, strict=True):
            assert torch.equal(one, their)
        assert torch.equal(batch.captions, their_batch.captions)
        assert torch.equal(cache.empty_prompt_embeds, other.empty_prompt_embeds)
        assert cache.empty_prompt_embeds.dtype == other.empty_prompt_embeds.dtype


def test_what_is_read_is_what_a_cache_with_embeddings_holds(alone: LiveCache, here: LatentCache) -> None:
    assert len(alone.shard_sizes) > 1
    alive(alone)
    require_same(alone, here)


def test_a_cache_with_embeddings_gives_its_latents_and_none_of_these(here: LatentCache) -> None:
    live = LiveCache(here.path)
    assert alive(live).asked == 0
    assert live.nbytes == sum(latents.nbytes for latents in live.folder.latents) < here.nbytes
    require_same(live, here)


@pytest.mark.parametrize("embedded_too", [False, True])
def test_a_cache_elsewhere_is_read_alike(
    alone: LiveCache, here: LatentCache, tmp_path: Path, embedded_too: bool
) -> None:
    address = f"file://{here.path if embedded_too else alone.path}"
    remote = LiveRemoteCache(address, tmp_path / "copies", 2**40)
    embedding = alive(remote)
    require_same(remote, here)
    asked, kept = embedding.asked, len(remote._rows)
    assert torch.equal(latents_of(remote, SOME), here.gather(SOME)[0])
    assert (embedding.asked, len(remote._rows)) == (asked, kept)


def test_parts_of_a_mixture_may_hold_embeddings_or_not(alone: LiveCache, here: LatentCache) -> None:
    mixed = LiveMixedCache({"without": alone, "with": LiveCache(here.path)})
    alive(mixed)
    for first in (0, len(here)):
        for one, their in zip(mixed.gather(SOME + first), here.gather(SOME), strict=True):
            assert torch.equal(one, their)


def test_whoever_wants_latents_embeds_no_prompt(alone: LiveCache, here: LatentCache) -> None:
    embedding = alive(alone)
    assert torch.equal(latents_of(alone, SOME), here.gather(SOME)[0])
    assert torch.equal(latents_of(here, SOME), here.gather(SOME)[0])
    assert alone.batch_to_embed(SOME).prompt_embeds.shape == (5, 6, 0)
    open_extra(alone, "mean", "v1", lambda latents: latents.mean(dim=1))
    assert embedding.asked == 0


def test_each_sample_gets_the_caption_that_is_drawn_for_it(tmp_path: Path) -> None:
    """Whichever thread reads its latents."""
    records = [
        CachedRecord(f"{n}.png", [f"one of {n}", f"other of {n}"], None, prompt_weights=[1, 3]) for n in range(9)
    ]
    cache = LiveCache(write(tmp_path / "cache", records))
    numbers = lambda prompts: torch.tensor([[[float(hash(prompt) % 1000)]] for prompt in prompts])  # noqa: E731
    cache.embed_with(numbers, torch.zeros(1, 1))
    loader = LatentLoader(cache, torch.arange(9), 4, 1, seed=3, device=CPU)
    plain = LatentLoader(LatentCache(cache.path), torch.arange(9), 4, 1, seed=3, device=CPU)
    assert plain.embedding is None
    drawn = set()
    for start in range(0, 40, 4):
        positions = range(start, start + 4)
        batch, other = loader.batches(positions), plain.batches(positions)
        assert torch.equal(batch.latents, other.latents)
        assert torch.equal(batch.captions, other.captions)  # hashes of the captions
        assert batch.prompt_embeds[:, 0, 0].tolist() == [caption % 1000 for caption in batch.captions.tolist()]
        drawn |= set(loader.prompts_at(positions))
    assert len(drawn) > 9  # both captions of some
    chosen = torch.tensor([8, 2, 2]), torch.tensor([1, 0, 1])
    expected = numbers(["other of 8", "one of 2", "other of 2"])
    assert torch.equal(cache.batch(*chosen).prompt_embeds, expected)
    assert torch.equal(cache.gather(*chosen)[1], expected)
    assert loader.embedding is not None
    assert loader.embedding.seconds_of_batch() > 0
    assert loader.embedding.seconds_of_batch() == 0  # of no batch since
