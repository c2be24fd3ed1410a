from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from aaa.assembly.parts import build_model
from aaa.benchmarks.speedrun import Look, looks, notes, reached
from aaa.config.compose import compose
from aaa.config.groups import CONF
from aaa.models.costs import count_parameters
from aaa.reports.runs import Run


def test_looks_take_the_seconds_and_samples_of_the_steps_before() -> None:
    metrics = [
        {"step": 10, "seconds": 1.5, "samples": 320},
        {"step": 10, "quality/held_out": 0.25},
        {"step": 20, "seconds": 3.0, "samples": 640},
        {"step": 20, "quality/held_out": 0.75},
    ]
    assert looks(Run(Path(), "run", {}, metrics)) == [(1.5, 320, 0.25), (3.0, 640, 0.75)]


@pytest.mark.parametrize(("target", "seconds"), [(0.5, 2.0), (0.9, 4.0), (0.95, None)])
def test_what_counts_is_the_first_look_that_reaches_the_target(target: float, seconds: float | None) -> None:
    taken = [Look(1.0, 10, 0.1), Look(2.0, 20, 0.6), Look(3.0, 30, 0.4), Look(4.0, 40, 0.9)]
    found = reached(taken, target)
    assert found["seconds"] == seconds
    assert (found["right at the end"], found["seconds of training"]) == (0.9, 4.0)


def row(recipe: str, seconds: float | None) -> dict[str, Any]:
    return {"recipe": recipe, "seconds": seconds}


def test_medians_over_seeds_are_compared_and_a_run_that_never_got_there_counts_as_endless() -> None:
    rows = [row("frozen", 90.0), row("frozen", 110.0), row("frozen", 100.0)]
    rows += [row("now", 20.0), row("now", None), row("now", 30.0)]
    rows += [row("odd", None), row("odd", None), row("odd", 10.0)]
    said = notes(rows, ["frozen", "now", "odd"])
    assert said == [
        "frozen: 100 s in the median",
        "now: 30 s in the median, 0.30 of frozen's",
        "odd: half of the runs or more did not get there",
    ]


def test_the_frozen_recipe_is_the_run_that_was_measured() -> None:
    """Its loss after 600 steps is in experiments/optimizers: the model, the samples and the steps are those."""
    recipes = OmegaConf.load(CONF / "bench" / "speedrun.yaml").recipes
    config = compose(recipes["2026-11-26"])
    with torch.device("meta"):
        assert count_parameters(build_model(config)) == 1_076_656
    assert config.trainer.max_steps * config.trainer.batch_size == 76_800
