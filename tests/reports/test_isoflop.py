"""The best size for a budget of FLOPs: against numpy's parabolas and scipy's t."""

import itertools
import math
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from aaa.reports.isoflop import Budget, best_size, best_sizes, budgets, growth, size_name
from aaa.reports.runs import Run
from aaa.reports.scaling import draw_scaling

SIZES = (1e5, 2e5, 4e5, 8e5, 1.6e6)
BUDGETS = (1e12, 4e12, 1.6e13)


def run_of(size: float, flops: float, seed: int, loss: float, told_flops: float | None = None, **config: Any) -> Run:
    name = f"{size:g} {flops:g} {told_flops} {seed} {sorted(config.items())}"
    told = {"model.dim": size, "budget.flops": told_flops or flops, "seed": seed, "trainer.max_steps": 10} | config
    rows: list[dict[str, Any]] = [{"step": 10, "samples": 1e9 / size, "flops": flops, "val/loss": loss}]
    return Run(Path(name), name, told, rows, {"model": {"parameters": size}})


def noise(*of: float) -> float:
    return random.Random(repr(of)).gauss(0, 1e-3)


def valley(size: float, flops: float, seed: int) -> float:
    """Its lowest point moves as the square root of the FLOPs, from 2e5 to 8e5 parameters."""
    return 0.3 + 0.05 * math.log(size / (2e5 * (flops / 1e12) ** 0.5)) ** 2 + noise(size, flops, seed)


def swept(
    loss: Callable[[float, float, int], float],
    sizes: Sequence[float] = SIZES,
    of_budgets: Sequence[float] = BUDGETS,
    seeds: Sequence[int] = (0, 1, 2),
) -> list[Run]:
    return [run_of(*place, loss(*place)) for place in itertools.product(sizes, of_budgets, seeds)]


def test_the_best_size_is_the_lowest_point_of_a_parabola_in_logarithms() -> None:
    found = budgets(swept(valley, seeds=[0]))
    assert [budget.flops for budget in found] == list(BUDGETS)
    for budget in found:
        losses = [valley(size, budget.flops, 0) for size in SIZES]
        (square, slope, _), covariance = np.polyfit(np.log(SIZES), losses, 2, cov=True)
        best = best_size(budget)
        assert best.parameters == pytest.approx(math.exp(-slope / (2 * square)))
        assert best.parameters is not None
        assert best.low is not None
        assert best.high is not None
        assert best.low < best.parameters < best.high
        for end in (best.low, best.high):
            by = np.array([2 * math.log(end), 1])
            t = (by @ [square, slope]) / math.sqrt(by @ covariance[:2, :2] @ by)
            assert 2 * stats.t.sf(abs(t), len(SIZES) - 3) == pytest.approx(0.05, rel=1e-3), "by its residuals"
        assert best.loss(1e6) == pytest.approx(np.polyval(np.polyfit(np.log(SIZES), budget.means, 2), math.log(1e6)))


def test_its_interval_is_of_sizes_whose_slope_over_seeds_may_be_0() -> None:
    for budget in budgets(swept(valley)):
        best = best_size(budget)
        assert best.parameters is not None
        assert best.parameters is not None
        assert best.low is not None
        assert best.high is not None
        assert best.low < best.parameters < best.high
        of_seeds = [
            np.polyfit(np.log(SIZES), [valley(size, budget.flops, seed) for size in SIZES], 2) for seed in range(3)
        ]
        for end in (best.low, best.high):
            slopes = [2 * square * math.log(end) + slope for square, slope, _ in of_seeds]
            assert stats.ttest_1samp(slopes, 0).pvalue == pytest.approx(0.05, rel=1e-3)


@given(st.lists(st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4), min_size=2, max_size=5))
def test_of_any_losses_a_best_size_is_among_those_tried_and_in_its_interval(losses: list[list[float]]) -> None:
    sizes = SIZES[:4]
    budget = Budget(
        1e12, {size: {seed: one[place] for seed, one in enumerate(losses)} for place, size in enumerate(sizes)}
    )
    best = best_size(budget)
    square, slope, _ = np.polyfit(np.log(sizes), np.mean(losses, axis=0), 2)
    assume(abs(square) > 1e-6)
    assume(np.std([np.polyfit(np.log(sizes), one, 2)[0] for one in losses]) > 1e-9)
    lowest = -slope / (2 * square)
    assume(min(abs(lowest - math.log(end)) for end in (sizes[0], sizes[-1])) > 1e-6)
    of_seeds = [np.polyfit(np.log(sizes), one, 2) for one in losses]
    curvature = float(stats.ttest_1samp([one[0] for one in of_seeds], 0).pvalue)
    assume(abs(curvature - 0.05) > 1e-3)
    is_among = square > 0 and math.log(sizes[0]) < lowest < math.log(sizes[-1])
    if best.parameters is not None:
        assert is_among
        assert curvature < 0.05, "that there is a lowest point is no chance"
        assert best.parameters == pytest.approx(math.exp(lowest), rel=1e-4)
        assert best.parameters is not None
        assert best.low is not None
        assert best.high is not None
        assert best.low <= best.parameters * (1 + 1e-6)
        assert best.parameters <= best.high * (1 + 1e-6)
        beyond = math.log(best.high) + 0.1
        slopes = [2 * one[0] * beyond + one[1] for one in of_seeds]
        if np.std(slopes) > 1e-6:
            assert stats.ttest_1samp(slopes, 0).pvalue < 0.05
    else:
        assert (best.low, best.high) == (None, None)
        assert not (is_among and curvature < 0.04)
        if "larger" in best.otherwise or "smaller" in best.otherwise:
            end = math.log(sizes[-1] if "larger" in best.otherwise else sizes[0])
            assert stats.ttest_1samp([2 * one[0] * end + one[1] for one in of_seeds], 0).pvalue < 0.051


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            lambda size: -math.log(size) + 0.01 * math.log(size / 1e5) ** 2,
            "best size larger than 1.6M, the largest here",
        ),
        (
            lambda size: math.log(size) + 0.01 * math.log(size / 1e6) ** 2,
            "best size smaller than 100k, the smallest here",
        ),
        (lambda size: 1 - math.log(size / 4e5) ** 2, "no best size: the parabola opens downward"),
        (lambda size: 1e-10 * size, "no best size: cannot be told from noise"),
    ],
)
def test_no_best_size_is_stated_beyond_those_tried(loss: Callable[[float], float], said: str) -> None:
    runs = [run_of(size, 1e12, seed, 30 + loss(size) + noise(size, seed)) for size in SIZES for seed in (0, 1, 2)]
    assert best_sizes(runs) == [f"1e+12 training FLOPs: {said} (a parabola through 5 sizes, 3 seeds)"]
    one_seed = [run for run in runs if run.config["seed"] == 0]
    assert best_sizes(one_seed) == [f"1e+12 training FLOPs: {said} (a parabola through 5 sizes, one seed)"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_noise_is_no_best_size(seeds: Sequence[int]) -> None:
    """Of losses that do not go by the size, whatever their mean parabola looks like."""
    draws = random.Random(0)
    found = [
        best_size(Budget(1e12, {size: {seed: draws.gauss(1, 0.01) for seed in seeds} for size in SIZES}))
        for _ in range(400)
    ]
    assert sum("cannot be told" in best.otherwise for best in found) > 0.85 * len(found)
    assert sum(best.parameters is not None for best in found) < 0.05 * len(found)


def test_three_sizes_of_one_seed_say_nothing_of_noise() -> None:
    runs = [run_of(size, 1e12, 0, valley(size, 4e12, 0)) for size in SIZES[1:4]]
    said = "no best size: cannot be told from noise (a parabola through 3 sizes, one seed)"
    assert best_sizes(runs) == [f"1e+12 training FLOPs: {said}"]


def test_an_interval_that_ends_nowhere_near_ends_nowhere() -> None:
    """Its end is no number: the curvature is just clear enough over these seeds."""
    losses: list[Mapping[Hashable, float]] = [{0: 1.0223, 1: 1.036}, {0: 0.9975, 1: 0.9982}, {0: 1.0276, 1: 1.0073}]
    best = best_size(Budget(1e12, dict(zip(SIZES, losses, strict=False))))
    assert (best.parameters, best.otherwise) == (None, "no best size: cannot be told from noise")


def test_seeds_that_agree_in_the_slope_at_an_end_are_no_error() -> None:
    """Whose variance there is 0, and may be less than that by rounding."""
    losses: list[Mapping[Hashable, float]] = [{0: 0.1, 1: 0.4}, {0: 0.4, 1: 0.6}, {0: 0.5, 1: 0.4}]
    assert best_size(Budget(1e12, dict(zip(SIZES, losses, strict=False)))).parameters is None


def test_the_best_size_grows_as_a_power_of_the_budget(tmp_path: Path) -> None:
    runs = swept(valley)
    best = [best_size(budget).parameters for budget in budgets(runs)]
    fit = stats.linregress(np.log(BUDGETS), np.log(np.array(best, dtype=float)))
    reach = stats.t.ppf(0.975, 1) * fit.stderr
    law = growth(budgets(runs))
    assert law is not None
    assert (law.exponent, law.low, law.high) == pytest.approx((fit.slope, fit.slope - reach, fit.slope + reach))
    assert law.exponent == pytest.approx(0.5, abs=0.02)
    said = draw_scaling(runs, tmp_path / "scaling.png")
    assert said[-4:] == best_sizes(runs)
    assert said[-1].startswith("best size ~ FLOPs^0.5")
    assert said[-2].startswith("1.6e+13 training FLOPs: best size 799k [779k, 821k]")
    assert said[-2].endswith(" (a parabola through 5 sizes, 3 seeds)")
    worse = {run.name: 10 - run.config["model.dim"] * 1e-7 for run in runs if run.config["budget.flops"] == 1e12}
    more = [run_of(size, 6.4e13, seed, valley(size, 1.6e13, seed)) for size in SIZES for seed in (0, 1)]
    out_of_range = [
        replace(run, metrics=[run.metrics[0] | {"val/loss": worse.get(run.name, run.metrics[0]["val/loss"])}])
        for run in [*runs, *more]
    ]
    assert best_sizes(out_of_range)[-1].endswith(", of 3 of 4 budgets")
    assert Image.open(tmp_path / "scaling.png").width == 4 * 660
    two = [run for run in runs if run.config["budget.flops"] < 1e13]
    assert growth(budgets(two)) is None
    assert draw_scaling(two, tmp_path / "two.png")[-2:] == best_sizes(two) == said[-4:-2]
    assert Image.open(tmp_path / "two.png").width == 3 * 660


def test_a_budget_is_of_runs_with_nearly_equal_flops_and_of_each_size_the_best() -> None:
    def rounded(size: float, flops: float) -> float:
        return flops * (1 - 0.04 * (size / 1.6e6))

    runs = [
        run_of(size, rounded(size, flops), 0, valley(size, flops, 0) + 0.1 * rate, rate=rate)
        for size, flops, rate in itertools.product(SIZES, BUDGETS, (0, 1))
    ]
    far = run_of(3.2e6, 0.9e12, 0, 0.01)
    untold = [
        replace(run, config=run.config | {"budget.flops": None, "samples": run.config["budget.flops"]})
        for run in [*runs, far]
    ]
    for compared in ([*runs, far], untold):
        found = budgets(compared)
        assert [budget.sizes for budget in found] == [list(SIZES)] * 3
        assert found[0].means == [valley(size, 1e12, 0) for size in SIZES]
        assert best_sizes(compared)[3] == "9e+11 (3.2M) training FLOPs: no best size, which takes 3 sizes"


def test_a_budget_is_what_runs_were_told_and_what_they_lack_of_it_is_said() -> None:
    """Of few steps, which are whole, the largest model has less."""
    spent = {size: 1e12 * (0.92 if size == 1.6e6 else 1) for size in SIZES}
    runs = [run_of(size, spent[size], 0, valley(size, 1.6e13, 0), 1e12) for size in SIZES]
    (budget,) = budgets(runs)
    assert budget.sizes == list(SIZES)
    (said,) = best_sizes(runs)
    assert said.endswith(" (a parabola through 5 sizes, one seed, 1.6M had 8% fewer FLOPs)")


def test_what_diverged_or_is_not_finished_is_no_size_and_two_sizes_are_too_few() -> None:
    runs = swept(lambda *place: math.nan if place == (1.6e6, 1e12, 2) else valley(*place))
    for run in runs:
        if run.config["model.dim"] == 1e5 and run.config["budget.flops"] == 1e12:
            run.config["trainer.max_steps"] = 20
    of_the_least, *_ = budgets(runs)
    assert of_the_least.sizes == [2e5, 4e5, 8e5]
    fewer = [run for run in runs if run.config["budget.flops"] != 1e12 or run.config["model.dim"] in (2e5, 4e5)]
    assert best_sizes(runs)[3] == "left out: 100k of 1e+12 FLOPs (not finished), 1.6M of 1e+12 FLOPs (diverged)"
    assert best_sizes(fewer)[2:] == ["1e+12 (200k, 400k) training FLOPs: no best size, which takes 3 sizes"]
    assert best_sizes([run for run in fewer if run.config["model.dim"] in (2e5, 4e5)]) == []


def test_seeds_that_a_size_lacks_do_not_count() -> None:
    runs = [run for run in swept(valley) if (run.config["model.dim"], run.config["seed"]) != (1e5, 2)]
    without = [run for run in swept(valley) if run.config["seed"] != 2]
    assert [best_size(budget) for budget in budgets(runs)] == [best_size(budget) for budget in budgets(without)]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [(950, "950"), (91168, "91.2k"), (999_900, "1M"), (1.234e6, "1.23M"), (128_824_448, "129M"), (2e9, "2B")],
)
def test_sizes_are_said_in_few_letters(parameters: float, name: str) -> None:
    assert size_name(parameters) == name
