"""Evaluations with models that are known: one that draws the very pictures, one that draws noise, one that recalls."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from aaa.data.cache import LatentCache
from aaa.data.records import Record, Split
from aaa.data.shapes import BACKGROUNDS, Scene, ShapesSource, draw
from aaa.data.split import split_records
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler, SeededNoise
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler
from aaa.encoders.pixel import PixelVAE
from aaa.errors import UserError
from aaa.evaluation.diversity import Diversity, _usual_distance
from aaa.evaluation.drawing import PictureDrawer
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.memorisation import NearestTraining
from aaa.evaluation.nearest_real import NearestReal
from aaa.evaluation.pretrained import InceptionDistance
from aaa.evaluation.protocol import Evaluation, NotApplicable
from aaa.evaluation.several import Several
from aaa.evaluation.shapes import ShapesAgreement, agrees
from aaa.training.precision import ModelPrecision
from tests.data.test_cache import build

DRAWN = 48
Answer = Callable[[Tensor], Tensor]  # records -> their latents as this model draws them


class Knowing(nn.Module):
    """Has been told which records it is asked for, and leads straight to the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer, self.asked = answer, torch.empty(0)

    def forward(self, latents: Tensor, _embeds: Tensor, timestep: Tensor) -> Tensor:
        return (latents - self.answer(self.asked)) / (timestep / 1000).view(-1, 1, 1, 1)


class TellingDrawer(PictureDrawer):
    """Lets the model know which records are drawn."""

    def _draw(self, model: nn.Module, records: Tensor, seeds: list[int], shape: int) -> Tensor:
        assert isinstance(model, Knowing)
        model.asked = records
        return super()._draw(model, records, seeds, shape)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> LatentCache:
    return build(tmp_path_factory.mktemp("c") / "cache", ShapesSource(16, num_records=400, num_validation=DRAWN))


def evaluated(cache: LatentCache, answer: Answer) -> EvaluatedModel:
    drawer = TellingDrawer(
        cache,
        PixelVAE(4),
        Sampling(LinearScheduler(), Euler(), PromptGuidance(1), VelocityPrediction(), steps=2),
        seed=0,
        precision=ModelPrecision("float32", torch.device("cpu")),
    )
    train, held_out = split_records(cache.records, 0)
    records: dict[Split, Tensor] = {"train": train, "validation": held_out}
    return EvaluatedModel(Knowing(answer), drawer, records)


def test_a_model_that_draws_the_data_is_found_perfect_and_one_that_draws_noise_is_not(cache: LatentCache) -> None:
    perfect = evaluated(cache, lambda records: cache.gather(records)[0])
    noise = evaluated(cache, lambda records: torch.randn(len(records), *cache.shapes[0]))
    of_perfect, of_noise = (LatentDistance(DRAWN, components=8).evaluate(of) for of in (perfect, noise))
    for name in ("quality/latent_frechet", "quality/latent_kernel"):
        assert of_perfect[name] < of_noise[name] / 3
        error = of_perfect[f"{name}_standard_error"] + of_noise[f"{name}_standard_error"]
        assert of_noise[name] - of_perfect[name] > error
        assert abs(of_perfect[name] - of_perfect[f"{name}_floor"]) < of_noise[name] / 3
    shares = ShapesAgreement(DRAWN).evaluate(perfect)
    assert (shares["quality/seen"], shares["quality/held_out"]) == (1, 1)
    assert ShapesAgreement(DRAWN).evaluate(noise)["quality/seen"] < 0.3


def test_pictures_are_shared_and_drawn_once(cache: LatentCache) -> None:
    asked: list[int] = []

    def answer(records: Tensor) -> Tensor:
        asked.extend(records.tolist())
        return cache.gather(records)[0]

    one = evaluated(cache, answer)
    first = one.draw("train", 8)
    assert len(asked) == 8 * 2, "two steps"
    again = one.draw("train", 5)
    assert len(asked) == 8 * 2
    assert torch.equal(torch.stack(list(first.latents[:5])), torch.stack(list(again.latents)))
    real = one.real("train", 8)
    assert real.records.tolist() != first.records.tolist()
    assert torch.equal(real.records, one.real("train", 8).records)
    many = one.real("train", 100)  # more than are held at once
    expected = cache.gather(many.records)[0]
    assert torch.equal(torch.stack(list(many.latents())), expected)


class Listening(nn.Module):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, latents: Tensor, embeds: Tensor, _timestep: Tensor) -> Tensor:
        self.asked.append((latents, embeds))
        return latents


def test_pictures_are_drawn_for_their_own_prompts_from_the_seeds_that_begin_with_the_drawers(
    cache: LatentCache,
) -> None:
    model, precision = Listening(), ModelPrecision("float32", torch.device("cpu"))
    sampling = Sampling(LinearScheduler(), Euler(), PromptGuidance(3), VelocityPrediction(), steps=1)
    drawer, wanted = PictureDrawer(cache, PixelVAE(4), sampling, seed=7, precision=precision), torch.tensor([5, 2, 402])
    drawer.draw(model, wanted)
    records: dict[Split, Tensor] = {"train": torch.arange(400), "validation": torch.arange(400, 400 + DRAWN)}
    repeats = EvaluatedModel(model, drawer, records).draw_repeats("train", prompts=2, seeds=3)
    (once, of_once), (again, of_again) = model.asked
    assert torch.equal(once, SeededNoise([7, 8, 9])(cache.shapes[0]).repeat(2, 1, 1, 1))
    assert torch.equal(again, SeededNoise([7, 8, 9] * 2)(cache.shapes[0]).repeat(2, 1, 1, 1))
    for embeds, of_records in ((of_once, wanted), (of_again, torch.cat([one.records for one in repeats]))):
        positive, negative = embeds.chunk(2)
        assert torch.equal(positive, cache.gather(of_records)[1])
        assert torch.equal(negative, cache.empty_prompt_embeds.expand_as(positive))


class Sorted:
    """Pictures of ten colours, one after the other, as a folder for each class comes."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> Record:
        base = np.array([25 * (index // 40), 128, 250 - 25 * (index // 40)])
        red, green, blue = np.clip(base + np.random.default_rng(index).normal(0, 15, 3), 0, 255).astype(int).tolist()
        split: Split = "validation" if index % 4 == 0 else "train"
        return Record(
            f"{index:03d}", f"color {index // 40}", lambda: Image.new("RGB", (16, 16), (red, green, blue)), split
        )


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> LatentCache:
    return build(tmp_path_factory.mktemp("c") / "cache", Sorted())


@pytest.mark.parametrize("num_real", [200, 1000])
def test_what_is_drawn_is_of_all_that_it_is_compared_with(in_order: LatentCache, num_real: int) -> None:
    perfect = evaluated(in_order, lambda records: in_order.gather(records)[0])
    metrics = LatentDistance(DRAWN, num_real, components=3).evaluate(perfect)
    for name in ("quality/latent_frechet", "quality/latent_kernel"):
        gap = abs(metrics[name] - metrics[f"{name}_floor"])
        assert gap < 3 * metrics[f"{name}_standard_error"], metrics
    assert metrics["quality/latent_frechet"] < 0.6, metrics
    # The pictures of the same prompts say how near is near.
    copies = NearestTraining(8).evaluate(perfect)
    assert copies["memorisation/distance_median"] == copies["memorisation/held_out_distance_median"]


def test_spread_records_are_of_all_the_data_and_no_real_ones_are_in_its_order(in_order: LatentCache) -> None:
    one = evaluated(in_order, lambda records: in_order.gather(records)[0])
    train = one.records["train"]
    spread = one.draw_spread("train", 60)
    assert len(set(spread.prompts)) == 10
    assert torch.equal(one.draw("train", 60).records, train[:60]), "these are the first ones as ever"
    assert torch.equal(one.draw_spread("train", 20).records, spread.records[:20])
    whole = one.real("train", 1000).records
    assert torch.equal(one.real("train", 60).records, whole[:60])
    assert set(whole.tolist()) == set(train.tolist())
    assert len({in_order.records[index].prompt for index in whole[:60].tolist()}) == 10
    shared = set(spread.records.tolist()) & set(whole[:60].tolist())
    assert len(shared) < 25, "12 of 60 by chance: the one choice knows nothing of the other"
    originals = one.draw_originals("train", 60)
    assert torch.equal(originals.records, whole[:60]), "none of them is mirrored"
    assert torch.equal(one.draw_originals("train", 20).records, originals.records[:20])
    prompts = [of_one.prompts[0] for of_one in one.draw_repeats("train", 5, 1)]
    assert len({*prompts}) == 5
    assert prompts != [f"color {number}" for number in range(5)]


def test_what_recalls_is_looked_for_all_over_the_data(in_order: LatentCache) -> None:
    asked: set[str] = set()

    def answer(records: Tensor) -> Tensor:
        asked.update(in_order.records[index].prompt for index in records.tolist())
        return in_order.gather(records)[0]

    NearestTraining(16).evaluate(evaluated(in_order, answer))
    assert len(asked) > 5, "the first 16 would be of two colours"


def test_no_pictures_are_made_of_numbers_that_are_not_finite(cache: LatentCache) -> None:
    def answer(records: Tensor) -> Tensor:
        latents = cache.gather(records)[0]
        latents[-1, 0, 0, 0] = torch.nan
        return latents

    for evaluation in (LatentDistance(8), NearestTraining(8), ShapesAgreement(8), Diversity(2, 2)):
        with pytest.raises(UserError, match="What the model drew are no finite numbers"):
            evaluation.evaluate(evaluated(cache, answer))


@pytest.mark.parametrize(
    "prompt", ["a red cross on a tent", "an engagement ring on a white cushion", "a red square on a background"]
)
def test_other_data_that_names_a_shape_is_none_of_shapes(
    cache: LatentCache, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    other = evaluated(cache, lambda _: pytest.fail("it was drawn"))
    ShapesAgreement(8).check(other)
    odd = int(other.records["train"][3])
    known = other.prompt
    monkeypatch.setattr(other, "prompt", lambda record: prompt if record == odd else known(record))
    with pytest.raises(NotApplicable, match=re.escape(f"The prompts ({prompt!r}) are not those of data=shapes")):
        ShapesAgreement(8).check(other)


@pytest.mark.parametrize("size", [(48, 32), (32, 48)])
def test_shapes_are_read_in_pictures_that_are_not_square(size: tuple[int, int]) -> None:
    scene = Scene("triangle", "cyan", "large", "center", "navy")
    wider = Image.new("RGB", size, BACKGROUNDS["navy"])
    wider.paste(draw(scene, 32), (size[0] - 32, size[1] - 32))
    assert agrees(scene.prompt, wider)[""]
    assert not agrees(scene.prompt.replace("triangle", "ring"), wider)["_shape"]


class Sizes:
    """Pictures of which most that are held out are of a size of their own."""

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> Record:
        split: Split = "validation" if index % 3 == 0 else "train"
        size = (16, 16) if split == "train" or index % 60 == 0 else (32, 16)
        color = (2 * index, 128, 128)
        return Record(f"{index:03d}", f"number {index}", lambda: Image.new("RGB", size, color), split)


def test_held_out_pictures_of_a_size_that_nobody_trains_on_are_not_compared(tmp_path: Path) -> None:
    cache = build(tmp_path / "cache", Sizes(), fit=lambda width, height: (height, width))
    perfect = evaluated(cache, lambda records: cache.gather(records)[0])
    metrics = NearestTraining(60).evaluate(perfect)
    assert all(map(np.isfinite, metrics.values()))
    assert metrics["memorisation/distance_median"] == metrics["memorisation/held_out_distance_median"] > 0
    assert metrics["memorisation/copies"] == 0.5, "of the two that there are"
    others = evaluated(cache, lambda records: cache.gather(records)[0])
    train, held_out = (cache.shape_ids[others.records[split]] for split in ("train", "validation"))
    others.records["validation"] = others.records["validation"][held_out != train[0]]
    with pytest.raises(NotApplicable, match="No training picture is of the size"):
        NearestTraining(60).evaluate(others)


def test_differences_are_those_of_pictures_of_the_commonest_size() -> None:
    square, wide = torch.zeros(1, 2, 2), torch.zeros(1, 2, 3)
    assert _usual_distance([wide, square, square + 2]) == pytest.approx(2)
    for real in ([wide, square], [wide, square, square]):
        with pytest.raises(NotApplicable, match="no two different training pictures of one size"):
            _usual_distance(real)


def test_a_model_that_recalls_is_told_from_one_that_draws(cache: LatentCache) -> None:
    train = torch.arange(400)
    honest = evaluated(cache, lambda records: cache.gather(records)[0])
    recalling = evaluated(cache, lambda records: cache.gather(train[records % 400])[0])
    of_honest, of_recalling = (NearestTraining(DRAWN).evaluate(of) for of in (honest, recalling))
    assert of_honest["memorisation/copies"] < 0.1
    assert of_recalling["memorisation/copies"] > 0.9
    assert of_recalling["memorisation/distance_median"] == pytest.approx(0, abs=1e-3)
    assert of_honest["memorisation/distance_median"] == of_honest["memorisation/held_out_distance_median"]
    assert {"nearest", "distances"} <= recalling.kept.keys()


def test_diversity_is_none_of_a_model_that_heeds_no_seed_and_whole_of_one_that_heeds_no_prompt(
    cache: LatentCache,
) -> None:
    deaf = evaluated(cache, lambda records: cache.gather(records)[0])
    assert Diversity(3, 4).evaluate(deaf)["quality/diversity"] == pytest.approx(0, abs=1e-3)
    draws = torch.Generator().manual_seed(0)
    any_picture = evaluated(
        cache, lambda records: cache.gather(torch.randint(400, (len(records),), generator=draws))[0]
    )
    any_picture.drawer.sigmas = [[1.0, 0.0]]  # one step: one picture
    metrics = Diversity(6, 8).evaluate(any_picture)
    assert metrics["quality/diversity"] == pytest.approx(1, abs=0.2)
    assert any_picture.kept["seeds"].width > 8 * 16


def test_conditions_are_judged_by_the_same_pictures_and_copies_looked_for_among_those_trained_on(
    cache: LatentCache,
) -> None:
    def copied(records: Tensor) -> Tensor:
        return cache.gather(train[:1].repeat(len(records)))[0]

    every, few = evaluated(cache, copied), evaluated(cache, copied)
    train = every.records["train"]
    few.records["trained_on"] = train[200:300]
    shared: list[Evaluation] = [LatentDistance(DRAWN, components=8), Diversity(4, 2)]
    assert [one.evaluate(few) for one in shared] == [one.evaluate(every) for one in shared]
    of_every, of_few = (NearestTraining(DRAWN).evaluate(one) for one in (every, few))
    assert of_every["memorisation/distance_median"] < 1e-3, "each is a copy of what every record was trained on"
    assert of_few["memorisation/distance_median"] > 0.1
    for evaluation in (ShapesAgreement(4), NearestReal(4)):
        asked: list[int] = []

        def answer(records: Tensor, asked: list[int] = asked) -> Tensor:
            asked.extend(records.tolist())
            return cache.gather(records)[0]

        few = evaluated(cache, answer)
        few.records["trained_on"] = train[200:300]
        evaluation.evaluate(few)
        assert {*asked} & {*train.tolist()} <= {*train[200:300].tolist()}, "only those were seen"


def test_evaluations_that_do_not_apply_are_left_out(cache: LatentCache) -> None:
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    one.records["validation"] = torch.tensor([], dtype=torch.long)
    with pytest.raises(NotApplicable, match="Fewer than two records are held out"):
        NearestTraining(8).evaluate(one)
    one.records["train"] = torch.arange(4)
    metrics = Several(
        {"latents": LatentDistance(8), "nearest": NearestTraining(8), "agreement": ShapesAgreement(4), "none": None}
    ).evaluate(one)
    assert metrics["quality/seen"] == 1
    assert not any(name.startswith(("quality/latent", "memorisation", "quality/held_out")) for name in metrics)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_without_training_or_held_out_records_is_judged_by_what_can(cache: LatentCache, split: Split) -> None:
    """As a part of a mixture that is never trained on, or holds nothing out."""
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    one.records[split] = torch.tensor([], dtype=torch.long)
    parts: dict[str, Any] = {
        "agreement": ShapesAgreement(4),
        "latents": LatentDistance(8),
        "nearest": NearestTraining(8),
        "diversity": Diversity(2, 2),
    }
    metrics = Several(parts).evaluate(one)
    assert any(name.startswith("quality/latent_frechet") for name in metrics)
    assert ("quality/seen" in metrics, "quality/held_out" in metrics) == (split != "train", split != "validation")
    one.records = dict.fromkeys(one.records, one.records[split])
    for evaluation in (*parts.values(), NearestReal(4)):
        if not isinstance(evaluation, ShapesAgreement):  # which has nothing to look at, and nothing to say
            for look in (evaluation.check, evaluation.evaluate):
                with pytest.raises(NotApplicable):
                    look(one)


def test_what_says_beforehand_that_it_does_not_apply_is_not_asked(cache: LatentCache) -> None:
    class Refusing:
        def check(self, _: EvaluatedModel) -> None:
            raise NotApplicable("Not this.")

        def evaluate(self, _: EvaluatedModel) -> dict[str, float]:
            raise AssertionError("asked all the same")

    one = evaluated(cache, lambda records: cache.gather(records)[0])
    assert "quality/seen" in Several({"no": Refusing(), "yes": ShapesAgreement(4)}).evaluate(one)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights-inception.* of\s+the releases"):
        InceptionDistance(str(tmp_path / "no.pth"))
    with pytest.raises(UserError, match="must be at least"):
        LatentDistance(4)


def test_two_parts_with_one_name_for_their_metrics_are_refused(cache: LatentCache) -> None:
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    parts = {"agreement": ShapesAgreement(4), "again": ShapesAgreement(4), "none": None}
    with pytest.raises(
        UserError, match=r"evaluation\.parts\.again: gives quality/seen, as evaluation\.parts\.agreement does"
    ):
        Several(parts).evaluate(one)
