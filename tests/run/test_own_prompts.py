"""Prompts of one's own are embedded as the cache's are, once, by an encoder that is let go of."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from aaa.assembly import own_prompts as assembled
from aaa.assembly.own_prompts import OwnPrompts
from aaa.assembly.training_data import TrainingData
from aaa.data.cache import LatentCache
from aaa.data.shapes import ShapesSource
from aaa.encoders.embedding import embed
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from aaa.evaluation.sharing import Alone
from aaa.run import own_prompts
from aaa.run.own_prompts import open_own_prompts
from aaa.run.session import Session
from tests.data.test_cache import build

SESSION = cast(Session, SimpleNamespace(device=torch.device("cpu"), processes=Alone()))
PROMPTS = ["a red circle", "a blue square at the center", "one two three four five six seven eight nine"]


class Weighty(WordEmbedding):
    """Has weights, which may be missing, and notes how often it was asked."""

    asked = 0
    missing: str | None = None
    made: list["weakref.ref[Weighty]"] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(32, 6)
        self.weight_files: list[Path] = []
        torch.rand(3)  # as of weights to be loaded into
        Weighty.made.append(weakref.ref(self))

    def fetch_files(self) -> None: ...

    def missing_files(self) -> str | None:
        return Weighty.missing

    def to(self, device: str) -> None:
        del device

    def encode(self, prompts: list[str]) -> tuple[torch.Tensor, list[int]]:
        Weighty.asked += len(prompts)
        return super().encode(prompts)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatentCache:
    Weighty.asked, Weighty.missing, Weighty.made = 0, None, []
    for module in (assembled, own_prompts):
        monkeypatch.setattr(module, "build_encoders", lambda _: (PixelVAE(4), Weighty()))
    return build(tmp_path / "cache", ShapesSource(16, num_records=20, num_validation=4))


def config_in(folder: Path, prompts: Any, **more: Any) -> DictConfig:
    return OmegaConf.create(
        {
            "resume": None,
            "repeat": None,
            "init_from": None,
            "sampling": {"prompts": prompts},
            "trainer": {"sample_every_steps": 1},
            "data": {"cache_dir": str(folder / "caches")},
            "encoder": {"batch_size": 2},
            **more,
        }
    )


def opened(config: DictConfig, cache: LatentCache) -> OwnPrompts:
    data = TrainingData(cache, PixelVAE(4), torch.arange(20), torch.arange(0), None)
    own = open_own_prompts(config, SESSION, data)
    assert own is not None
    return own


def test_they_are_what_the_cache_would_hold_of_them(tmp_path: Path, cache: LatentCache) -> None:
    of_data = [cache.records[index].prompt for index in range(4)]
    own = opened(config_in(tmp_path, of_data), cache)
    assert torch.equal(own.prompt_embeds, cache.gather(torch.arange(4))[1])
    decomposed = opened(config_in(tmp_path, ["a cafe\u0301"]), cache)
    assert torch.equal(decomposed.prompt_embeds, opened(config_in(tmp_path, ["a caf\xe9"]), cache).prompt_embeds)


def test_they_are_embedded_once_and_the_encoder_is_let_go_of(tmp_path: Path, cache: LatentCache) -> None:
    config = config_in(tmp_path, PROMPTS)
    torch.manual_seed(0)
    untouched = torch.rand(3)
    torch.manual_seed(0)
    first = opened(config, cache)
    assert torch.equal(torch.rand(3), untouched), "random numbers of the run stay what they are"
    assert Weighty.asked == 3
    gc.collect()
    assert Weighty.made
    assert not any(made() for made in Weighty.made)
    Weighty.missing = "its weights"
    again = opened(config, cache)
    assert torch.equal(again.prompt_embeds, first.prompt_embeds)
    assert again.lengths == first.lengths == [3, 6, 9]
    with pytest.raises(UserError, match=r"sampling\.prompts: none has embedded them .*\n  its weights"):
        opened(config_in(tmp_path, ["another"]), cache)
    Weighty.missing = None
    (kept,) = (tmp_path / "caches" / "prompts").iterdir()
    kept.write_bytes(b"damaged")
    assert torch.equal(opened(config, cache).prompt_embeds, first.prompt_embeds)
    assert Weighty.asked == 6


def test_where_they_cannot_be_kept_each_run_embeds_them(
    tmp_path: Path, cache: LatentCache, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "caches").write_text("no folder")
    for asked in (3, 6):
        opened(config_in(tmp_path, PROMPTS), cache)
        assert Weighty.asked == asked
    assert "cannot be written" in caplog.text


def test_no_more_tokens_are_read_than_of_the_data_and_it_is_said(
    tmp_path: Path, cache: LatentCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.prompt_shape = (4, 32)  # as trainer.trim_prompts leaves it
    own = opened(config_in(tmp_path, PROMPTS), cache)
    assert own.prompt_embeds.shape == (3, 4, 32)
    whole, _ = embed(WordEmbedding(32, 6), PROMPTS)
    assert torch.equal(own.prompt_embeds, whole[:, :4].half().float())
    assert f"the model sees the first 4 tokens, and '{PROMPTS[1]}', '{PROMPTS[2]}' have more" in caplog.text
    assert "was never shown 'one', 'two', 'three' (did you mean 'the'?), 'four': what" in caplog.text


def test_nothing_is_embedded_where_nothing_is_drawn(
    tmp_path: Path, cache: LatentCache, caplog: pytest.LogCaptureFixture
) -> None:
    data = TrainingData(cache, PixelVAE(4), torch.arange(20), torch.arange(0), None)
    assert open_own_prompts(config_in(tmp_path, None), SESSION, data) is None
    assert not caplog.text
    never = config_in(tmp_path, PROMPTS, trainer={"sample_every_steps": 0})
    assert open_own_prompts(never, SESSION, data) is None
    assert "sampling.prompts: nothing is drawn, with trainer.sample_every_steps=0" in caplog.text
    assert Weighty.asked == 0


@pytest.mark.parametrize("key", ["resume", "repeat"])
def test_a_run_that_goes_on_without_its_file_has_the_prompts_that_it_had(
    tmp_path: Path, cache: LatentCache, key: str
) -> None:
    run, file = tmp_path / "run", tmp_path / "prompts.txt"
    run.mkdir()
    (run / "config.yaml").write_text('sampling: {prompts: [a red circle, "costs \\\\${5}"]}')
    config = config_in(tmp_path, str(file), **{key: str(run)})
    assert opened(config, cache).prompts == ["a red circle", "costs ${5}"]
    file.write_text("another\n")
    assert opened(config, cache).prompts == ["another"]
    file.unlink()
    (run / "config.yaml").write_text("sampling: {prompts: null}")
    with pytest.raises(UserError, match="cannot be read"):
        opened(config, cache)
