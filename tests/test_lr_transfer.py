"""What the page on rates over sizes says is what its tables of runs say."""

import math
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[1] / "experiments" / "lr_transfer"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    return load_script("lr_transfer", "draw")


def test_the_page_has_the_tables_that_the_runs_make(draw: ModuleType) -> None:
    sweeps = {over: draw.read(FOLDER / f"{over}.csv", size) for over, size in draw.SIZES.items()}
    page = (FOLDER / "README.md").read_text()
    for table in draw.tables(sweeps).split("\n\n"):
        assert table in page, "python experiments/lr_transfer/draw.py"


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.3])
def test_the_best_rate_of_a_parabola_is_its_vertex(draw: ModuleType, shift: float) -> None:
    losses = {0.01 * 2**place: 0.3 + 0.02 * (place - shift) ** 2 for place in range(-2, 3)}
    found = draw.best(losses)
    assert found.end == 0
    assert found.log_rate == pytest.approx(math.log2(0.01) + shift)


@pytest.mark.parametrize(("slope", "end"), [(1, -1), (-1, 1)])
def test_a_best_rate_at_an_end_is_told_as_a_bound(draw: ModuleType, slope: int, end: int) -> None:
    losses = {0.01 * 2**place: 1.0 + 0.1 * slope * place for place in range(3)}
    assert draw.best(losses) == (math.log2(0.01 if end < 0 else 0.04), end)


def test_the_power_of_a_rate_that_falls_with_the_root_of_the_size_is_a_half(draw: ModuleType) -> None:
    def around(vertex: float) -> dict[float, float]:
        return {2.0**place: (place - vertex) ** 2 for place in range(-12, 1)}

    losses = {size: {seed: around(-4.3 - math.log2(size / 64) / 2) for seed in (0, 2)} for size in (64, 128, 256, 512)}
    assert draw.power_cell(losses) == "-0.50 [-0.50, -0.50]"


def test_the_cost_of_a_rate_is_paired_over_seeds(draw: ModuleType) -> None:
    base = {seed: {0.01: 0.5, 0.02: 0.6} for seed in range(3)}
    wide = {0: {0.01: 0.45, 0.02: 0.40}, 1: {0.01: 0.55, 0.02: 0.48}, 2: {0.01: 0.50, 0.02: 0.47}}
    kept, own, paid = draw.cost({64: base, 128: wide}, 128, 64)
    columns = zip(*((of_seed[0.01], of_seed[0.02]) for of_seed in wide.values()), strict=True)
    low, high = stats.ttest_rel(*columns).confidence_interval(0.95)
    assert (kept, own) == (0.01, 0.02)
    assert paid == pytest.approx((0.05, low, high))
