"""What is said of several data sets that are mixed: of all, and of each."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from aaa.data.cache import LatentCache
from aaa.data.mixed_cache import MixedCache
from aaa.data.mixed_order import MixedPart
from aaa.data.shapes import ShapesSource
from aaa.evaluation.each_part import EachPart, for_parts
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.mixed_validation import mixed_table
from aaa.evaluation.none import NoEvaluation
from aaa.evaluation.protocol import NotApplicable
from aaa.evaluation.several import Several
from aaa.evaluation.shapes import ShapesAgreement
from aaa.evaluation.validation import structureless_loss, summarise, validation_table
from tests.data.test_cache import build
from tests.evaluation.test_evaluations import evaluated

NOTHING = torch.empty(0, dtype=torch.long)


@pytest.fixture
def cache(tmp_path: Path) -> MixedCache:
    sources = {"a": ShapesSource(16, 10, 12), "b": ShapesSource(16, 4, 3), "c": ShapesSource(16, 5, 0)}
    return MixedCache({name: build(tmp_path / name, source) for name, source in sources.items()})


def parts(*weights: float) -> list[MixedPart]:
    held_out = (torch.arange(10, 22), torch.arange(26, 29), NOTHING)
    return [MixedPart(name, weight, NOTHING, held) for name, weight, held in zip("abc", weights, held_out, strict=True)]


def test_the_table_has_the_records_of_each_part_that_it_would_have_alone(cache: MixedCache) -> None:
    table = mixed_table(cache, parts(3, 1, 1), num_records=4, timesteps_per_record=5)
    assert table is not None
    assert [part.name for part in table.parts] == ["a", "b"]  # c holds nothing out
    for part, first in zip(table.parts, (0, 22), strict=True):
        own: LatentCache = cache.parts[part.name]
        held_out = torch.arange(len(own))[torch.tensor([record.split == "validation" for record in own.records])]
        alone = validation_table(own, held_out, 4, 5)
        assert alone is not None
        assert torch.equal(table.records[part.rows], alone.records + first)
        torch.testing.assert_close(part.latent_variance, alone.latent_variance)
        for record in alone.records.unique():
            bands = (table.sigmas[part.rows][alone.records == record] * 5).long()
            assert bands.sort().values.tolist() == [0, 1, 2, 3, 4]
    reweighted = mixed_table(cache, parts(0, 1, 7), num_records=4, timesteps_per_record=5)
    assert reweighted is not None
    assert reweighted.digest == table.digest  # so that runs of other weights can be compared
    assert reweighted.content == table.content
    assert mixed_table(cache, [parts(1, 1, 1)[2]], 4, 5) is None


def test_losses_are_told_of_all_and_of_each(cache: MixedCache) -> None:
    table = mixed_table(cache, parts(3, 1, 1), num_records=3, timesteps_per_record=2)
    assert table is not None
    losses = torch.tensor([1.0, 1, 2, 2, 3, 3, 10, 10, 10, 10, 40, 40])
    told = summarise(losses, table)
    assert told["val/loss"] == pytest.approx(losses.mean().item())
    assert told["val/loss/a"] == 2
    assert told["val/loss/b"] == 20
    assert told["val/loss/a_standard_error"] == pytest.approx(1 / 3**0.5)
    assert told["val/loss/b_standard_error"] == pytest.approx(300**0.5 / 3**0.5)
    of_all = structureless_loss(table.sigmas, table.latent_variance).mean()
    assert told["val/loss_relative"] == pytest.approx(losses.mean().item() / of_all.item())
    known = structureless_loss(table.sigmas[6:], table.parts[1].latent_variance).mean()
    assert told["val/loss_relative/b"] == pytest.approx(20 / known.item())


class Counting:
    """Says how many records there are, of parts with at least three."""

    def check(self, evaluated: Any) -> None:
        if len(evaluated.records["train"]) < 3:
            raise NotApplicable("Too few.")

    def evaluate(self, evaluated: Any) -> dict[str, float]:
        self.check(evaluated)
        evaluated.keep("picture", Image.new("RGB", (len(evaluated.records["train"]), 1)))
        return {"quality/count": len(evaluated.records["train"]), "quality/count_standard_error": 0.5}


class Evaluated:
    """Of which nothing is asked but to keep pictures."""

    model = drawer = on_drawn = source_pictures = part_name = None

    def __init__(self) -> None:
        self.kept: dict[str, Image.Image] = {}
        self.compared: dict[str, Any] = {}

    def keep(self, name: str, picture: Image.Image) -> None:
        self.kept[name] = picture


def records(count: int) -> Any:
    return {"train": torch.arange(count), "validation": NOTHING}


def test_each_part_is_judged_by_itself_where_that_can_be(caplog: pytest.LogCaptureFixture) -> None:
    parts, spans = {"a": records(5), "b": records(2), "c": records(4)}, dict.fromkeys("abc", range(0))
    evaluation, evaluated = EachPart(Counting(), parts, spans), Evaluated()
    with caplog.at_level(logging.WARNING):
        evaluation.check(evaluated)  # type: ignore[arg-type]
    assert "nothing to say of data.parts.b: Too few." in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        found = evaluation.evaluate(evaluated)  # type: ignore[arg-type]
    assert "Left out is data.parts.b: Too few." in caplog.text
    assert found == {
        "quality/count/a": 5,
        "quality/count/a_standard_error": 0.5,
        "quality/count/c": 4,
        "quality/count/c_standard_error": 0.5,
    }
    assert {name: picture.width for name, picture in evaluated.kept.items()} == {"picture-a": 5, "picture-c": 4}
    with pytest.raises(NotApplicable, match=r"data\.parts\.b: Too few"):
        EachPart(Counting(), {"b": records(2)}, spans).check(evaluated)  # type: ignore[arg-type]


def test_a_part_that_is_never_trained_on_is_judged_by_what_it_holds_out(
    cache: MixedCache, caplog: pytest.LogCaptureFixture
) -> None:
    of_mixture = evaluated(cache, lambda indices: cache.gather(indices)[0])
    of_parts: Any = {
        "a": {"train": torch.arange(10), "validation": torch.arange(10, 22)},
        "b": {"train": NOTHING, "validation": torch.arange(22, 29)},
        "c": {"train": NOTHING, "validation": torch.arange(29, 34)},
    }
    of_parts["b"]["validation"] = torch.cat([torch.arange(22, 29), torch.arange(29, 31)])  # nine
    of_parts["c"]["validation"] = torch.arange(31, 34)
    each = EachPart(LatentDistance(8), of_parts, cache.spans)
    found = each.evaluate(of_mixture)
    assert {name for name in found if "kernel" not in name} == {
        *(f"quality/latent_frechet{of_part}" for of_part in ("/a", "-validation/b")),
        *(f"quality/latent_frechet{of_part}_standard_error" for of_part in ("/a", "-validation/b")),
        *("quality/latent_frechet_floor/a", "quality/latent_frechet-validation_floor/b"),
    }
    told = of_mixture.compared["quality/latent_frechet-validation/b"]
    assert told == {"split": "validation", "reference": "latents", "drawn": 8, "real": 5}
    assert of_mixture.compared.keys() == found.keys()
    # Asked for held-out pictures, parts with too few of them are left out, as long as there are others.
    with caplog.at_level(logging.WARNING):
        EachPart(LatentDistance(8, split="validation"), of_parts, cache.spans).check(of_mixture)
    assert "nothing to say of data.parts.c: evaluation.split=validation: of the records 3 are held out" in caplog.text


def test_of_a_part_with_too_few_held_out_the_other_evaluations_are_left(
    cache: MixedCache, caplog: pytest.LogCaptureFixture
) -> None:
    of_mixture = evaluated(cache, lambda indices: cache.gather(indices)[0])
    of_parts: Any = {
        "a": {"train": torch.arange(10), "validation": torch.arange(10, 22)},
        "b": {"train": torch.arange(22, 26), "validation": torch.arange(26, 29)},
    }
    several = Several({"distance": LatentDistance(8, split="validation"), "agreement": ShapesAgreement(4)})
    each = EachPart(several, of_parts, cache.spans)
    few = "evaluation.split=validation: of the records 3 are held out, and a distance of latents takes 8 at least. "
    few += "A run holds out more by data.parts.b.validation_fraction=N"
    with caplog.at_level(logging.INFO):
        each.check(of_mixture)
        assert f"Of the evaluation of data.parts.b is left out: distance: {few}" in caplog.text
        caplog.clear()
        found = each.evaluate(of_mixture)
    assert {"quality/latent_frechet-validation/a", "quality/held_out/a", "quality/held_out/b"} <= found.keys()
    assert "quality/latent_frechet-validation/b" not in found
    assert f"distance is left out: {few}" in caplog.text


def test_data_without_parts_is_judged_as_ever() -> None:
    counting, none = Counting(), NoEvaluation()
    assert for_parts(counting, {}, {}) is counting
    assert for_parts(none, {"a": records(1)}, {"a": range(1)}) is none
