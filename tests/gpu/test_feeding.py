"""What feeds a GPU: latents that lie in its memory, or are read ahead into page-locked memory."""

from pathlib import Path

import pytest
import torch

from aaa.data.batch import Batch
from aaa.data.cache import LatentCache
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.data.prefetch import Prefetch
from aaa.run import latent_loader
from aaa.run.latent_loader import LatentLoader, hold_near

CHANNELS, SIDE, TOKENS, TEXT_DIM = 4, 8, 5, 16
CUDA = torch.device("cuda")


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    records, draws = 64, torch.Generator().manual_seed(2)
    (tmp_path / "cache").mkdir()
    writer = CacheWriter(tmp_path / "cache", torch.bfloat16, "gpu")
    writer.write_empty_prompt(torch.zeros(1, TOKENS, TEXT_DIM), tokens=TOKENS)
    writer.write(
        [CachedRecord(f"{index:08d}", [f"picture {index}"], None) for index in range(records)],
        torch.randn(records, CHANNELS, SIDE, SIDE, generator=draws),
        torch.randn(records, TOKENS, TEXT_DIM, generator=draws),
        [TOKENS] * records,
        [bytes(16)] * records,
    )
    writer.close(fingerprint="gpu")
    return LatentCache(tmp_path / "cache")


@pytest.mark.parametrize("near", [True, False])
def test_batches_are_the_same_from_wherever_they_come(cache: LatentCache, device: torch.device, near: bool) -> None:
    plain = LatentLoader(LatentCache(cache.path), torch.arange(64), 8, 1, 0, torch.device("cpu"))
    if near:
        hold_near(cache, device)
    assert cache.device.type == (device.type if near else "cpu")
    loader = LatentLoader(cache, torch.arange(64), 8, 1, 0, device)
    for start in range(0, 160, 8):
        here, there = plain.batches(range(start, start + 8)), loader.batches(range(start, start + 8))
        if device.type == "cuda" and not near:
            assert there.latents.is_pinned()
        there = there.to(device)
        assert there.latents.device.type == device.type
        assert torch.equal(here.latents, there.latents.cpu())
        assert torch.equal(here.prompt_embeds, there.prompt_embeds.cpu())
    loader.close()


def test_what_takes_much_of_the_memory_is_left_where_it_is(
    cache: LatentCache, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_loader, "available_memory", lambda _: cache.nbytes)
    hold_near(cache, device)
    assert cache.device.type == "cpu"


@pytest.mark.gpu
def test_a_copy_from_page_locked_memory_is_not_waited_for_and_is_whole() -> None:
    """The memory is given back, and taken by the next batch, while copies are under way: each must be what it was."""
    count = 2**22

    def batch(positions: range) -> Batch:
        return Batch.of_strangers(torch.full((1, count), float(positions.start)), torch.zeros(1))

    batches, busy = Prefetch(batch, 1, pin=True), torch.randn(4096, 4096, device=CUDA)
    seen = []
    for start in range(20):
        for _ in range(10):
            busy = torch.tanh(busy @ busy)  # the copy has to queue behind this
        seen.append(batches(range(start, start + 1)).to(CUDA).latents)
    batches.close()
    assert all(bool((latents == start).all()) for start, latents in enumerate(seen))
