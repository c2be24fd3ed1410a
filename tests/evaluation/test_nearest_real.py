"""Nearest real pictures, with models that are known: one that draws the right ones, one that copies, one of noise."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from aaa.data.cache import LatentCache
from aaa.data.cached_records import key_hash
from aaa.data.mixed_cache import MixedCache
from aaa.data.openmoji import OpenMojiSource
from aaa.data.records import Record, Split
from aaa.data.shapes import ShapesSource
from aaa.errors import UserError
from aaa.evaluation.each_part import EachPart
from aaa.evaluation.evaluated_model import EvaluatedModel, Group
from aaa.evaluation.nearest_real import NearestReal, _alike, ranks_of
from aaa.evaluation.picture_features import BlurredLab, PooledVision
from aaa.evaluation.protocol import NotApplicable
from tests.data.test_cache import build
from tests.evaluation.test_evaluations import evaluated

HELD_OUT = 10
RECORDS = 60


class Dice:
    """Pictures of dots in different places, the last one a copy of the one before it."""

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, index: int) -> Record:
        place = min(index, RECORDS - 2)

        def draw() -> Image.Image:
            picture = Image.new("RGB", (16, 16), "white")
            left, top = 2 * (place % 8), 2 * (place // 8)
            ImageDraw.Draw(picture).rectangle((left, top, left + 2, top + 2), "navy")
            return picture

        split: Split = "validation" if index % 6 == 0 else "train"
        return Record(f"{index:03d}", f"row {place // 8} column {place % 8} of {index}", draw, split)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> LatentCache:
    return build(tmp_path_factory.mktemp("c") / "cache", Dice())


def test_who_draws_the_right_picture_is_right(cache: LatentCache) -> None:
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    metrics = NearestReal(8).evaluate(one)
    for name in ("seen", "held_out", "seen_alike"):
        assert (
            metrics[f"quality/right_{name}"]
            == metrics[f"quality/right_{name}_top5"]
            == metrics[f"quality/right_{name}_high"]
            == 1
        )
        # Wilson's lower bound for 8 of 8: n / (n + z^2).
        assert metrics[f"quality/right_{name}_low"] == pytest.approx(8 / (8 + 1.959964**2), abs=1e-4)
        assert metrics[f"quality/right_{name}_distance"] == pytest.approx(0, abs=0.02)
    assert one.kept["nearest_real"].width > 6 * 16


def test_pictures_are_drawn_for_prompts_from_all_over_the_data(cache: LatentCache) -> None:
    asked: set[int] = set()

    def answer(records: torch.Tensor) -> torch.Tensor:
        asked.update(records.tolist())
        return cache.gather(records)[0]

    NearestReal(5).evaluate(evaluated(cache, answer))
    seen, held_out = ({index // 20 for index in asked if (index % 6 == 0) is held} for held in (False, True))
    assert (seen, held_out) == ({0, 1, 2}, {0, 1, 2}), "thirds of the folder"


def test_the_first_ones_of_openmoji_are_from_all_over_it() -> None:
    """So that numbers from before records were chosen by their keys are of the same pictures."""
    source = OpenMojiSource(64, held_out_pairs=0.1)
    keys = [source[index].key for index in range(len(source))]
    assert keys == sorted(keys, key=key_hash)


def test_who_copies_training_pictures_has_no_held_out_one_right(cache: LatentCache) -> None:
    def copied(records: torch.Tensor) -> torch.Tensor:
        held_out = records % 6 == 0
        return cache.gather(torch.where(held_out, records + 1, records))[0]

    metrics = NearestReal(8).evaluate(evaluated(cache, copied))
    assert metrics["quality/right_seen"] == 1
    assert metrics["quality/right_held_out"] == 0
    assert metrics["quality/right_held_out_top5"] > 0.5, "a neighbour is near"
    assert 0 < metrics["quality/right_held_out_distance"] < 1


def test_who_draws_noise_is_right_by_chance(cache: LatentCache) -> None:
    draws = torch.Generator().manual_seed(0)
    noise = evaluated(cache, lambda records: torch.randn(len(records), *cache.shapes[0], generator=draws))
    metrics = NearestReal(50).evaluate(noise)
    assert metrics["quality/right_seen"] < 0.2
    assert metrics["quality/right_seen_distance"] > 1


def test_prompts_of_many_pictures_have_no_right_one(tmp_path: Path) -> None:
    class Alike(ShapesSource):
        def __getitem__(self, index: int) -> Record:
            record = super().__getitem__(index)
            return Record(record.key, "a shape", record.load, record.split)

    cache = build(tmp_path / "cache", Alike(16, 20, 4))
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    with pytest.raises(NotApplicable, match="Most prompts are of several pictures"):
        NearestReal(4).check(one)
    with pytest.raises(UserError, match=r"evaluation\.num_images=0"):
        NearestReal(0)
    with pytest.raises(UserError, match=r"evaluation\.vision_model=nowhere: no model there"):
        NearestReal(4, vision_model="nowhere")


def test_each_part_of_a_mixture_is_searched_by_itself(tmp_path: Path, cache: LatentCache) -> None:
    class Alike(ShapesSource):
        def __getitem__(self, index: int) -> Record:
            record = super().__getitem__(index)
            return Record(record.key, "a shape", record.load, record.split)

    others = build(tmp_path / "others", Alike(16, 200, 4))  # of which more are than of dice, before and behind these
    mixed = MixedCache({"before": others, "dice": cache, "behind": others})
    of_mixture = evaluated(mixed, lambda records: mixed.gather(records)[0])
    first = mixed.spans["dice"].start
    alone = evaluated(cache, lambda records: cache.gather(records)[0])
    parts: dict[str, dict[Group, torch.Tensor]] = {
        name: {split: of + mixed.spans[name].start for split, of in source.records.items()}
        for name, source in (
            ("before", evaluated(others, lambda records: others.gather(records)[0])),
            ("dice", alone),
        )
    }
    evaluation = NearestReal(8, num_real=RECORDS)
    found = EachPart(evaluation, parts, mixed.spans).evaluate(of_mixture)
    assert found == pytest.approx({f"{name}/dice": value for name, value in evaluation.evaluate(alone).items()})
    dice = EvaluatedModel(of_mixture.model, of_mixture.drawer, parts["dice"], span=mixed.spans["dice"])
    assert evaluation._real(dice, torch.tensor([first])).records.tolist() == [*mixed.spans["dice"]]


PROMPTS = st.lists(st.sampled_from(["red", "Red", "dog", "cat", "a", "hat"]), max_size=4).map(" ".join)


@given(st.lists(PROMPTS, max_size=8), st.lists(PROMPTS, max_size=8))
def test_each_held_out_prompt_has_a_trained_one_of_its_own_that_is_most_alike(
    trained: list[str], held_out: list[str]
) -> None:
    prompts = [*trained, *held_out]
    one: Any = SimpleNamespace(prompt=lambda record: prompts[record])
    free = list(range(len(trained)))
    expected = []
    for prompt in held_out[: len(trained)]:
        said = set(prompt.lower().split())

        def alike(record: int, said: set[str] = said) -> float:
            other = set(prompts[record].lower().split())
            return len(said & other) / max(len(said | other), 1)

        expected.append(max(free, key=alike))
        free.remove(expected[-1])
    found = _alike(one, range(len(trained)), torch.arange(len(trained), len(prompts)))
    assert found.tolist() == expected


def test_copies_of_the_right_picture_are_right_and_ranks_count_what_is_nearer() -> None:
    real = torch.tensor([[0.0], [1.0], [1.0], [3.0]])
    ranks = ranks_of(torch.tensor([[1.1], [1.1], [2.9], [0.4]]), real, torch.tensor([1, 2, 0, 3]))
    assert ranks.rank.tolist() == [0, 0, 3, 3]
    assert ranks.nearest.tolist() == [1, 1, 3, 0]
    # Over the mean of all six pairs: (1 + 1 + 3 + 0 + 2 + 2) / 6.
    assert ranks.distance.tolist() == pytest.approx([0.1 / 1.5, 0.1 / 1.5, 2.9 / 1.5, 2.6 / 1.5], rel=1e-5)


def test_colours_are_those_of_cielab() -> None:
    # CIE's own values under D50, which profiles are made for.
    expected = {"white": (100, 0, 0), "black": (0, 0, 0), "red": (54.3, 80.8, 69.9), "blue": (29.6, 68.3, -112.0)}
    pictures = [Image.new("RGB", (32, 32), color) for color in expected]
    for vector, lab in zip(BlurredLab()(pictures), expected.values(), strict=True):
        flat = vector.view(3, -1) * 100
        assert flat.std(dim=1).max() < 1e-3
        np.testing.assert_allclose(flat.mean(dim=1), lab, atol=1)


def test_real_emoji_are_recognised_and_so_are_spoilt_ones() -> None:
    source = OpenMojiSource(64)
    real = [source[index].load() for index in range(0, len(source), 20)]
    features = BlurredLab()
    vectors = features(real)
    right = torch.arange(len(real))

    def share(spoilt: list[Image.Image]) -> float:
        return (ranks_of(features(spoilt), vectors, right).rank == 0).float().mean().item()

    assert share(real) == 1
    assert share([ImageChops.offset(picture, 1, 1) for picture in real]) > 0.9
    assert share([picture.filter(ImageFilter.GaussianBlur(2)) for picture in real]) > 0.9
    rng = np.random.default_rng(0)
    noisy = [np.clip(np.asarray(p) + rng.normal(0, 25, (64, 64, 3)), 0, 255).astype(np.uint8) for p in real]
    assert share([Image.fromarray(pixels) for pixels in noisy]) > 0.9


def test_a_vision_model_compares_pictures_too(tmp_path: Path, cache: LatentCache) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = sizes | {"image_size": 16, "patch_size": 4}
    config = CLIPConfig(text_config=sizes | {"vocab_size": 50}, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(tmp_path)
    size = {"height": 16, "width": 16}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path)
    vectors = PooledVision(str(tmp_path))([cache_picture(cache, index) for index in range(3)])
    assert vectors.shape == (3, 16)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    metrics = NearestReal(8, vision_model=str(tmp_path)).evaluate(one)
    assert metrics["quality/right_held_out_vision"] > 0.5
    assert {"quality/right_seen_vision_top5", "quality/right_seen_alike_vision_low"} <= metrics.keys()


def cache_picture(cache: LatentCache, index: int) -> Image.Image:
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    return one.picture(index)


def test_mirrored_copies_are_not_drawn_for(tmp_path: Path) -> None:
    """Their prompt is that of the original as well, which is no less right."""
    cache = build(tmp_path / "cache", Dice(), horizontal_flip=True)
    records = cache.records

    def drawn(wanted: torch.Tensor) -> torch.Tensor:
        assert not any(records[index].flipped for index in wanted.tolist())
        return cache.gather(wanted)[0]

    metrics = NearestReal(1000).evaluate(evaluated(cache, drawn))
    assert metrics["quality/right_seen"] == metrics["quality/right_seen_alike"] == 1
