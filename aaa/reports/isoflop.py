"""The best size of a model for a budget of FLOPs, and how it grows with that.

Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556): of each budget a parabola of the loss in the logarithm of the
parameters, whose lowest point is the best size.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy import stats

from aaa.reports.folding import by_setting, counted, unfinished
from aaa.reports.paired import CONFIDENCE
from aaa.reports.plain import plain_number
from aaa.reports.power_law import LEAST, PowerLaw, bear_a_law, fit_power_law, sizes
from aaa.reports.runs import Run

OF_ONE_BUDGET = 0.95  # times the FLOPs of the most costly run of a budget all others of it have at least


@dataclass(frozen=True)
class Budget:
    """Models of several sizes that were trained with equally many FLOPs: of each size the best setting.

    Attributes:
        flops: mean of theirs.
        losses: by size, in parameters and rising, the loss of each seed.
    """

    flops: float
    losses: Mapping[float, Mapping[Hashable, float]]

    @property
    def sizes(self) -> list[float]:
        """Parameters of the models, rising."""
        return list(self.losses)

    @property
    def seeds(self) -> list[Hashable]:
        """That every size has."""
        return sorted(set.intersection(*(set(of_size) for of_size in self.losses.values())), key=str)

    @property
    def means(self) -> list[float]:
        """Loss of each size, over the seeds that all sizes have, or over its own if these are not two."""
        seeds = self.seeds if len(self.seeds) > 1 else None
        return [mean(of_size[seed] for seed in seeds or of_size) for of_size in self.losses.values()]

    @property
    def deviations(self) -> list[float]:
        """Standard deviation of the loss of each size over its seeds, 0 of a single one."""
        return [stdev(of_size.values()) if len(of_size) > 1 else 0.0 for of_size in self.losses.values()]


@dataclass(frozen=True)
class BestSize:
    """Where the parabola of a budget has its lowest point.

    Attributes:
        parameters: there; None if it is beyond the sizes tried, or there is none.
        beyond: `larger` or `smaller` than those, or "" if the parabola has no lowest point.
        low, high: of its interval, over seeds; None of a single seed, and where the interval has no ends.
        coefficients: of the square, the logarithm of the parameters and 1.
    """

    parameters: float | None
    beyond: str
    low: float | None
    high: float | None
    coefficients: tuple[float, float, float]

    def loss(self, parameters: float) -> float:
        """Of the parabola, at this size."""
        return float(np.polyval(self.coefficients, math.log(parameters)))


def budgets(runs: Sequence[Run]) -> list[Budget]:
    """Budgets of which there are sizes enough, and far enough apart, fewest FLOPs first."""
    return [budget for budget in _of_equal_work(runs) if bear_a_law(budget.sizes)]


def best_size(budget: Budget) -> BestSize:
    """The lowest point of the least-squares parabola of a budget, with its interval by Student's t over seeds."""
    logs = np.log(budget.sizes)
    middle = float(logs.mean())  # from which logarithms are counted, so that squares differ
    solve = np.linalg.pinv(np.vander(logs - middle, 3))
    square, slope, level = map(float, solve @ budget.means)
    coefficients = (square, slope - 2 * square * middle, level - slope * middle + square * middle**2)
    if square <= 0:
        return BestSize(None, "", None, None, coefficients)
    place = middle - slope / (2 * square)
    if not logs[0] <= place <= logs[-1]:
        return BestSize(None, "larger" if place > logs[-1] else "smaller", None, None, coefficients)
    of_seeds = [solve @ [of_size[seed] for of_size in budget.losses.values()] for seed in budget.seeds]
    ends = _where_level([float(one[0]) for one in of_seeds], [float(one[1]) for one in of_seeds])
    low, high = (None, None) if ends is None else (math.exp(middle + end) for end in ends)
    return BestSize(math.exp(place), "", low, high, coefficients)


def growth(found: Sequence[Budget]) -> PowerLaw | None:
    """The best size as a power of the FLOPs, of the budgets whose best size is among those tried; None of too few."""
    best = {budget.flops: size for budget in found if (size := best_size(budget).parameters) is not None}
    return fit_power_law(list(best), list(best.values())) if bear_a_law(list(best)) else None


def best_sizes(runs: Sequence[Run]) -> list[str]:
    """What each budget says, in a line, and how the best size grows."""
    found = budgets(runs)
    said = [f"{budget.flops:.3g} training FLOPs: {_said(budget)}" for budget in found]
    if found and (few := [f"{budget.flops:.3g}" for budget in _of_equal_work(runs) if 1 < len(budget.sizes) < LEAST]):
        said.append(f"{', '.join(few)} training FLOPs: no best size, which takes {LEAST} sizes")
    if (law := growth(found)) is not None:
        said.append(f"best size ~ FLOPs{law}")
    return said


def size_name(parameters: float) -> str:
    """So many parameters in few letters: 91.2k, 1.23M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= 0.9995 * unit:
            return f"{float(f'{parameters / unit:.3g}'):g}{name}"
    return f"{parameters:.3g}"


def _said(budget: Budget) -> str:
    found, (least, *_, most) = best_size(budget), budget.sizes
    of = f"a parabola through {len(budget.sizes)} sizes" + (
        f", {count} seeds" if (count := len(budget.seeds)) > 1 else ""
    )
    if found.parameters is None:
        where = {
            "larger": f"larger than {size_name(most)}",
            "smaller": f"smaller than {size_name(least)}",
            "": "where the loss has no lowest point",
        }
        return f"best size beyond the sizes tried, {where[found.beyond]} ({of})"
    if found.low is None or found.high is None:
        interval = " [cannot be told over these seeds]" if count > 1 else ""
    else:
        low = f"below {size_name(least)}" if found.low < least else size_name(found.low)
        high = f"above {size_name(most)}" if found.high > most else size_name(found.high)
        interval = f" [{low}, {high}]"
    return f"best size {size_name(found.parameters)}{interval} ({of})"


def _where_level(squares: Sequence[float], slopes: Sequence[float]) -> tuple[float, float] | None:
    """Between which places the mean slope of parabolas `square x² + slope x` may be 0: Fieller's interval, 1954.

    Of all other places Student's t over seeds says that it is not. None of a single seed, and where there are no ends,
    since the parabolas may as well be straight.
    """
    count = len(squares)
    if count < 2:
        return None
    share = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) ** 2 / count
    (of_squares, of_both), (_, of_slopes) = np.cov(squares, slopes)
    square, slope = mean(squares), mean(slopes)
    # (slope + 2 x square)² <= share (of_slopes + 4 x of_both + 4 x² of_squares), a quadratic inequality in x
    a = 4 * (square**2 - share * of_squares)
    b = 4 * (square * slope - share * of_both)
    c = slope**2 - share * of_slopes
    if a <= 0:
        return None
    reach = math.sqrt(max(b**2 - 4 * a * c, 0.0))
    return (-b - reach) / (2 * a), (-b + reach) / (2 * a)


def _of_equal_work(runs: Sequence[Run]) -> list[Budget]:
    """The runs that count, finished and not diverged, by their FLOPs, fewest first; of each size the best setting."""
    counting = {run.name for run in counted(runs)}
    measured: list[tuple[float, float, dict[Hashable, float]]] = []
    for members in by_setting(runs):
        speaking = [run for run in members if run.name in counting]
        found = [_measured(run) for run in speaking if unfinished(run) is None]
        whole = [one for one in found if one is not None]
        if whole and len(whole) == len(speaking):
            flops, parameters, losses = zip(*whole, strict=True)
            seeds = [run.config.get("seed") for run in speaking]
            measured.append((mean(flops), mean(parameters), dict(zip(seeds, losses, strict=True))))
    grouped: list[list[Any]] = []
    for one in sorted(measured, key=lambda one: -one[0]):
        if not grouped or one[0] < OF_ONE_BUDGET * grouped[-1][0][0]:
            grouped.append([])
        grouped[-1].append(one)
    return [_budget(of_budget) for of_budget in reversed(grouped)]


def _measured(run: Run) -> tuple[float, float, float] | None:
    """FLOPs, parameters and loss of a run, None if one of them is no positive number."""
    found = (plain_number(run.last("flops")), run.parameters, plain_number(run.last("val/loss")))
    flops, parameters, loss = found
    if not flops or not parameters or not loss or min(flops, parameters, loss) <= 0:
        return None
    return flops, parameters, loss


def _budget(of_budget: Sequence[tuple[float, float, dict[Hashable, float]]]) -> Budget:
    smallest = sizes(parameters for _, parameters, _ in of_budget)
    best: dict[float, tuple[float, float, float, dict[Hashable, float]]] = {}
    for flops, parameters, losses in of_budget:
        size = max(least for least in smallest if least <= parameters)
        one = (mean(losses.values()), parameters, flops, losses)
        if size not in best or one[:2] < best[size][:2]:
            best[size] = one
    chosen = [best[size] for size in smallest]
    return Budget(mean(flops for *_, flops, _ in chosen), {parameters: losses for _, parameters, _, losses in chosen})
