"""`encoder.cache_prompts=false`: which cache is made, found and gone on with, and what is refused."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from aaa.assembly.data import open_data
from aaa.assembly.own_prompts import embed_own_prompts
from aaa.assembly.same_latents import has_latents_of
from aaa.assembly.training_data import TrainingData
from aaa.data import add_prompts
from aaa.data.live_prompts import LiveCache, LiveMixedCache, latents_of
from aaa.data.mixed_cache import MixedCache
from aaa.encoders.embedding import embed
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.protocols import TextEncoder
from aaa.errors import UserError
from tests.encoders.test_huggingface import WIDTH, make_model
from tests.helpers.composed import checked

SMALL = ["data.resolution=16", "data.source.num_records=20", "data.source.num_validation=6"]
LIVE = "encoder.cache_prompts=false"


def opened(caches: Path, *overrides: str, trained_on: str | None = None) -> TrainingData:
    return open_data(checked(*SMALL, f"data.cache_dir={caches}", *overrides), trained_on=trained_on)


def require_same(live: TrainingData, cached: TrainingData) -> None:
    """What a run is trained and validated on is the same to the bit."""
    assert isinstance(live.cache, LiveCache)
    assert not isinstance(cached.cache, LiveCache)
    for split, records in cached.records.items():
        assert torch.equal(live.records[split], records)
    indices = torch.arange(len(cached.cache))
    for one, other in zip(live.cache.batch(indices).on_device, cached.cache.batch(indices).on_device, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(live.cache.empty_prompt_embeds, cached.cache.empty_prompt_embeds)
    assert live.table is not None
    assert cached.table is not None
    assert live.table.content == cached.table.content  # their losses are comparable


def built_from(caches: Path) -> set[str]:
    return {path.parent.name for path in caches.glob("*/index.json")}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingData, TrainingData]:
    """A folder of caches of the same pictures, that of latents alone, which was made first, and one with embeddings."""
    caches = tmp_path_factory.mktemp("caches")
    return caches, opened(caches, LIVE), opened(caches)


Both = tuple[Path, TrainingData, TrainingData]


def test_a_cache_of_latents_alone_is_smaller_and_gives_the_same(both: Both) -> None:
    _, live, cached = both
    assert live.cache.path != cached.cache.path
    sizes = [sum(file.stat().st_size for file in data.cache.path.glob("shard-*")) for data in (live, cached)]
    assert sizes[1] - sizes[0] > 0.9 * sum(embeds.nbytes for embeds in cached.cache.folder.prompt_embeds)
    require_same(live, cached)


def test_a_run_goes_on_with_the_cache_that_it_had(both: Both) -> None:
    caches, live, cached = both
    alone, embedded = live.cache.fingerprint, cached.cache.fingerprint
    assert opened(caches, LIVE).cache.fingerprint == alone  # where there are both, a new run takes what it would make
    assert opened(caches, LIVE, trained_on=embedded).cache.fingerprint == embedded
    for trained_on in (embedded, alone):
        assert opened(caches, trained_on=trained_on).cache.fingerprint == embedded
    assert len(built_from(caches)) == 2


def test_the_key_may_be_changed_where_a_run_goes_on(both: Both, tmp_path: Path) -> None:
    """With and without embeddings the latents are the same, whichever are still there."""
    caches, live, cached = both
    alone, embedded = live.cache.fingerprint, cached.cache.fingerprint
    assert has_latents_of(opened(caches, trained_on=alone).cache, alone)
    anew = opened(tmp_path, LIVE, trained_on=embedded)
    assert anew.cache.fingerprint == alone
    assert has_latents_of(anew.cache, embedded)
    assert torch.equal(latents_of(anew.cache, torch.arange(26)), cached.cache.gather(torch.arange(26))[0])
    other = opened(tmp_path, LIVE, "data.source.num_records=10").cache
    for fingerprint in (alone, embedded, ""):
        assert not has_latents_of(other, fingerprint)


def test_so_it_may_in_a_mixture(both: Both) -> None:
    _, live, cached = both
    alone, embedded = live.cache.fingerprint, cached.cache.fingerprint
    mixed = LiveMixedCache({"one": live.cache, "two": LiveCache(cached.cache.path)})
    assert has_latents_of(mixed, mixed.fingerprint)
    assert has_latents_of(mixed, f"one:{embedded},two:{alone}")
    for other in (f"one:{alone}", f"two:{embedded},one:{alone}", f"one:{alone},two:{'0' * 64}", alone):
        assert not has_latents_of(mixed, other)


def test_latents_alone_of_an_earlier_version_get_no_embeddings_for_a_run_that_goes_on(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(both[1].cache.path, tmp_path / both[1].cache.path.name)
    monkeypatch.setattr("aaa.assembly.latents.code_fingerprint", lambda _targets: "later")
    alone = both[1].cache.fingerprint
    assert opened(tmp_path, LIVE, trained_on=alone).cache.fingerprint == alone
    refuse_pictures(monkeypatch)
    with pytest.raises(UserError, match=r"encoder\.cache_prompts=null: the run was trained on .*false\.$"):
        opened(tmp_path, trained_on=alone)


def test_a_cache_with_embeddings_serves_a_run_without(both: Both, tmp_path: Path) -> None:
    _, _, cached = both
    copy = shutil.copytree(cached.cache.path, tmp_path / cached.cache.path.name)
    live = opened(tmp_path, LIVE)
    assert live.cache.path == copy
    require_same(live, cached)


def refuse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(_vae: PixelVAE, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the latents are there")

    monkeypatch.setattr(PixelVAE, "encode", encode)


def test_latents_alone_get_embeddings_and_no_picture_is_encoded_again(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alone, cached = both
    shutil.copytree(alone.cache.path, tmp_path / alone.cache.path.name)
    refuse_pictures(monkeypatch)
    found = opened(tmp_path)
    assert found.cache.fingerprint == cached.cache.fingerprint
    assert found.cache.folder.build["reused"] == 26
    indices = torch.arange(26)
    for one, other in zip(found.cache.gather(indices), cached.cache.gather(indices), strict=True):
        assert torch.equal(one, other)
    assert [*found.cache.records] == [*cached.cache.records]
    assert not [*tmp_path.glob("*.earlier-*")]


def test_a_build_of_other_data_leaves_alone_what_prompts_are_being_added_to(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(both[1].cache.path, tmp_path / both[1].cache.path.name)
    others: list[TrainingData] = []

    def embed_late(text_encoder: TextEncoder, prompts: Sequence[str]) -> tuple[torch.Tensor, list[int]]:
        if not others:
            others.append(opened(tmp_path, "data.source.num_records=10"))
        return embed(text_encoder, prompts)

    monkeypatch.setattr(add_prompts, "embed", embed_late)
    found = opened(tmp_path)
    assert others[0].cache.path != found.cache.path
    assert found.cache.folder.build["reused"] == 26


@pytest.mark.parametrize("killed", [False, True])
def test_adding_prompts_goes_on_where_it_was_stopped(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    shutil.copytree(both[1].cache.path, tmp_path / both[1].cache.path.name)
    if killed:  # before a first shard
        leftover = tmp_path / f"{both[2].cache.path.name}.earlier-0"
        leftover.mkdir()
        shutil.copy(both[2].cache.path / "recipe", leftover)
    asked: list[str] = []

    def embed_some(text_encoder: TextEncoder, prompts: Sequence[str]) -> tuple[torch.Tensor, list[int]]:
        if len(asked) == 16:
            raise KeyboardInterrupt
        asked.extend(prompts)
        return embed(text_encoder, prompts)

    refuse_pictures(monkeypatch)
    monkeypatch.setattr(add_prompts, "AT_ONCE", 8)
    monkeypatch.setattr(add_prompts, "embed", embed_some)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path)
    asked.append("no longer to be stopped")
    found = opened(tmp_path)
    assert found.cache.fingerprint == both[2].cache.fingerprint
    assert found.cache.folder.build["reused"] == 26
    assert len(asked) == 27  # each once
    indices = torch.arange(26)
    for one, other in zip(found.cache.gather(indices), both[2].cache.gather(indices), strict=True):
        assert torch.equal(one, other)
    assert not [*tmp_path.glob("*.earlier-*")]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_cache_from_elsewhere_may_be_either(both: Both, tmp_path: Path, scheme: str) -> None:
    _, alone, embedded = both
    there = ["data=cache", "data.resolution=16", f"data.cache_dir={tmp_path}"]
    made = embedded if scheme else alone
    live = open_data(checked(*there, f"data.address={scheme}{made.cache.path}", LIVE))
    batch, other = live.cache.batch(torch.arange(20)), embedded.cache.batch(torch.arange(20))
    assert torch.equal(batch.prompt_embeds, other.prompt_embeds)
    with pytest.raises(
        UserError, match=r"data\.address=.*: this cache holds latents alone.* encoder\.cache_prompts=fal"
    ):
        open_data(checked(*there, f"data.address={scheme}{alone.cache.path}"))


def test_in_a_mixture_one_text_encoder_embeds_for_all(both: Both, tmp_path: Path) -> None:
    parts = ["data=mixture", "data.resolution=16", "+data@data.parts.one=shapes", "+data@data.parts.two=shapes"]
    parts += [f"data.parts.one.source.{count}" for count in ("num_records=8", "num_validation=2")]
    parts += [f"data.parts.two.source.{count}" for count in ("num_records=20", "num_validation=6")]
    shutil.copytree(both[2].cache.path, tmp_path / both[2].cache.path.name)  # the second part's, with embeddings
    live, cached = (open_data(checked(*parts, f"data.cache_dir={tmp_path}", *more)).cache for more in ([LIVE], []))
    assert isinstance(live, LiveMixedCache)
    assert isinstance(cached, MixedCache)
    assert len(built_from(tmp_path)) == 3
    indices = torch.arange(36)
    for one, other in zip(live.gather(indices), cached.gather(indices), strict=True):
        assert torch.equal(one, other)


def test_a_text_model_s_embeddings_are_those_of_the_cache_but_for_rounding(tmp_path: Path) -> None:
    text = ["text_encoder=huggingface", f"encoder.text_encoder.path={make_model(tmp_path / 'model', 'bert')}"]
    text += [f"encoder.prompt_dim={WIDTH}", "encoder.text_encoder.dtype=float32"]
    live, cached = (opened(tmp_path / "caches", *text, *more) for more in ([LIVE], []))
    indices = torch.arange(26)
    batches = [data.cache.batch(indices) for data in (live, cached)]
    assert torch.equal(batches[0].latents, batches[1].latents)
    torch.testing.assert_close(batches[0].prompt_embeds, batches[1].prompt_embeds, rtol=2**-10, atol=1e-6)
    assert live.cache.prompt_shape[0] == cached.cache.prompt_shape[0]
    own = [
        embed_own_prompts(data_config, data.cache, ["a b"], "cpu").prompt_embeds
        for data, data_config in (
            (live, checked(*SMALL, f"data.cache_dir={tmp_path / 'own'}", *text, LIVE)),
            (cached, checked(*SMALL, f"data.cache_dir={tmp_path / 'own'}", *text)),
        )
    ]
    assert torch.equal(*own)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    text = ["text_encoder=huggingface", f"encoder.text_encoder.path={make_model(tmp_path / 'model', 'bert')}"]
    text += [f"encoder.prompt_dim={WIDTH}"]
    cache = opened(tmp_path / "caches", *text, LIVE).cache
    there = ["data=cache", "data.resolution=16", f"data.cache_dir={tmp_path / 'new'}", f"data.address={cache.path}"]
    text[1] = f"encoder.text_encoder.path={tmp_path / 'nowhere'}"
    with pytest.raises(
        UserError, match=r"encoder\.cache_prompts=false: weights of the text encoder are missing:\n.*now"
    ):
        open_data(checked(*there, *text, LIVE))


def test_prompts_that_are_cut_are_told_as_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, LIVE, "encoder.max_prompt_tokens=3")
    assert "26 of 26 prompts are longer than 3 tokens" in caplog.text
