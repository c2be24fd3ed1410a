"""The best size of a model for a budget of FLOPs, and how it grows with that.

Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556): of each budget a parabola of the loss in the logarithm of the
parameters, whose lowest point is the best size.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

from aaa.reports.folding import by_setting, counted, unfinished
from aaa.reports.labels import few
from aaa.reports.paired import student
from aaa.reports.plain import plain_number
from aaa.reports.power_law import LEAST, OF_ONE_SIZE, PowerLaw, bear_a_law, best_of_each_size, fit_power_law
from aaa.reports.runs import Run

Floats = NDArray[np.floating]

OF_ONE_BUDGET = 0.95  # times the FLOPs of a budget all runs of it have at least, or it is said
UNKNOWN = "no best size: cannot be told from noise"
FAR = 50.0  # logarithms from the sizes tried, beyond which an interval has no end


@dataclass(frozen=True)
class Budget:
    """Models of several sizes that were trained with equally many FLOPs: of each size the best setting.

    Attributes:
        flops: mean of theirs.
        losses: by size, in parameters and rising, the loss of each seed.
        lacking: by size, the share of the FLOPs that it was told and that it was not trained with, if that is much.
    """

    flops: float
    losses: Mapping[float, Mapping[Hashable, float]]
    lacking: Mapping[float, float] = field(default_factory=dict)

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
        parameters: there; None if it is beyond the sizes tried, or may be chance.
        coefficients: of the square, the logarithm of the parameters and 1.
        low, high: of its interval; None if it has none.
        otherwise: what is known in place of it.
    """

    parameters: float | None
    coefficients: tuple[float, float, float]
    low: float | None = None
    high: float | None = None
    otherwise: str = ""

    def loss(self, parameters: float) -> float:
        """Of the parabola, at this size."""
        return float(np.polyval(self.coefficients, math.log(parameters)))


def budgets(runs: Sequence[Run]) -> list[Budget]:
    """Budgets of which there are sizes enough, and far enough apart, fewest FLOPs first."""
    return [budget for budget in _of_equal_work(runs)[0] if bear_a_law(budget.sizes)]


def best_size(budget: Budget) -> BestSize:
    """The lowest point of the least-squares parabola of a budget, with its interval by Student's t.

    Only where it is no chance that the loss rises to both sides: over seeds, or of a single one for the distances
    between its losses and the parabola.
    """
    logs = np.log(budget.sizes)
    middle = float(logs.mean())  # from which logarithms are counted, so that squares differ
    powers = np.vander(logs - middle, 3)
    solve = np.linalg.pinv(powers)
    square, slope, level = map(float, solve @ budget.means)
    coefficients = (square, slope - 2 * square * middle, level - slope * middle + square * middle**2)
    if len(budget.seeds) > 1:
        of_seeds = np.array([solve @ [of_size[seed] for of_size in budget.losses.values()] for seed in budget.seeds])
        freedom, covariance = len(of_seeds) - 1, np.cov(of_seeds[:, :2].T) / len(of_seeds)
    else:
        left = budget.means - powers @ (square, slope, level)
        freedom = len(logs) - len(coefficients)
        covariance = (solve @ solve.T)[:2, :2] * float(left @ left) / max(freedom, 1)
    if not freedom:
        return BestSize(None, coefficients, otherwise=UNKNOWN)
    reach = student(freedom)
    place = middle - slope / (2 * square) if square > 0 else math.inf
    ends = _where_level(square, slope, covariance, reach)
    if logs[0] <= place <= logs[-1] and ends is not None:
        low, high = (math.exp(middle + end) for end in ends)
        return BestSize(math.exp(place), coefficients, low, high)
    return BestSize(None, coefficients, otherwise=_beyond(budget.sizes, square, slope, covariance, reach))


def growth(found: Sequence[Budget]) -> PowerLaw | None:
    """The best size as a power of the FLOPs, of the budgets whose best size is among those tried; None of too few."""
    best = {budget.flops: size for budget in found if (size := best_size(budget).parameters) is not None}
    return fit_power_law(list(best), list(best.values())) if bear_a_law(list(best)) else None


def best_sizes(runs: Sequence[Run]) -> list[str]:
    """What each budget says, in a line, and how the best size grows; of what is in none of them, why."""
    every, failed = _of_equal_work(runs)
    found = [budget for budget in every if bear_a_law(budget.sizes)]
    if not found:
        return []
    said = [f"{budget.flops:.3g} training FLOPs: {_said(budget)}" for budget in found]
    if alone := [
        f"{budget.flops:.3g} ({', '.join(map(size_name, budget.sizes))})"
        for budget in every
        if len(budget.sizes) < LEAST
    ]:
        said.append(f"{few(alone)} training FLOPs: no best size, which takes {LEAST} sizes")
    if failed:
        said.append(f"left out: {few(failed)}")
    if (law := growth(found)) is not None:
        said.append(f"best size ~ FLOPs{law}{of_how_many(found)}")
    return said


def of_how_many(found: Sequence[Budget]) -> str:
    """`, of 2 of 3 budgets` if some of them have no best size, which `growth` leaves out; "" if all have one."""
    count = sum(best_size(budget).parameters is not None for budget in found)
    return f", of {count} of {len(found)} budgets" if count < len(found) else ""


def size_name(parameters: float) -> str:
    """So many parameters in few letters: 91.2k, 1.23M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= 0.9995 * unit:
            return f"{float(f'{parameters / unit:.3g}'):g}{name}"
    return f"{parameters:.3g}"


def _said(budget: Budget) -> str:
    found, (least, *_, most) = best_size(budget), budget.sizes
    count = len(budget.seeds)
    alone = "one seed" if all(len(of_size) == 1 for of_size in budget.losses.values()) else "no two seeds of all sizes"
    seeds = f"{count} seeds" if count > 1 else alone
    lacking = [f"{size_name(size)} had {share:.0%} fewer FLOPs" for size, share in budget.lacking.items()]
    of = ", ".join([f"a parabola through {len(budget.sizes)} sizes", seeds, *lacking])
    if found.parameters is None:
        return f"{found.otherwise} ({of})"
    interval = ""
    if found.low is not None and found.high is not None:
        low = f"below {size_name(least)}" if found.low < least else size_name(found.low)
        high = f"above {size_name(most)}" if found.high > most else size_name(found.high)
        interval = f" [{low}, {high}]"
    return f"best size {size_name(found.parameters)}{interval} ({of})"


def _where_level(square: float, slope: float, covariance: Floats, reach: float) -> tuple[float, float] | None:
    """Between which places the slope of a parabola `square x² + slope x` may be 0: Fieller's interval, 1954.

    Of all other places Student's t says that it is not. None where there are no ends, or only very far away, since the
    parabola may as well be straight.

    Args:
        square, slope: of it, as estimated.
        covariance: of the two. # 2 2
        reach: how many standard errors an interval reaches.
    """
    (of_square, of_both), (_, of_slope) = reach**2 * covariance
    # (slope + 2 x square)² <= of_slope + 4 x of_both + 4 x² of_square, a quadratic inequality in x
    a = 4 * (square**2 - float(of_square))
    b = 4 * (square * slope - float(of_both))
    c = slope**2 - float(of_slope)
    if a <= 0:
        return None
    apart = math.sqrt(max(b**2 - 4 * a * c, 0.0))
    if abs(b) + apart > 2 * a * FAR:
        return None
    return (-b - apart) / (2 * a), (-b + apart) / (2 * a)


def _beyond(found: Sequence[float], square: float, slope: float, covariance: Floats, reach: float) -> str:
    """Where the best size is that is not among those of a budget, if that is no chance.

    Args:
        found: the sizes.
        square, slope, covariance, reach: as `_where_level` has them, in logarithms from the middle of the sizes.
    """
    logs = np.log(found) - np.log(found).mean()
    at_least, at_most = (2 * square * end + slope for end in (logs[0], logs[-1]))
    variances = [float(np.array([2 * end, 1]) @ covariance @ [2 * end, 1]) for end in (logs[0], logs[-1])]
    errors = [reach * math.sqrt(max(variance, 0.0)) for variance in variances]  # 0 may be less than 0, rounded
    falls, rises = at_most < -errors[1], at_least > errors[0]
    if falls and at_least < 0:
        return f"best size larger than {size_name(found[-1])}, the largest here"
    if rises and at_most > 0:
        return f"best size smaller than {size_name(found[0])}, the smallest here"
    return "no best size: the parabola opens downward" if falls and rises else UNKNOWN


@dataclass(frozen=True)
class _Work:
    """What the runs of a setting were trained with, and what came out.

    Attributes:
        parameters, flops: mean of the runs'; no FLOPs if it failed.
        told: the FLOPs that it was told, with those of the weights that it began from; None if it was told none.
        losses: by seed; none if it failed.
        failed: why it says nothing of a size, "" if it does.
    """

    parameters: float
    flops: float
    told: float | None
    losses: Mapping[Hashable, float]
    failed: str = ""

    @property
    def budget(self) -> float:
        """The FLOPs by which it is known what it is to be compared with."""
        return self.flops if self.told is None else self.told

    @property
    def lacking(self) -> float:
        """The share of the FLOPs that it was told and that it was not trained with."""
        return 0.0 if self.told is None else 1 - self.flops / self.told


def _of_equal_work(runs: Sequence[Run]) -> tuple[list[Budget], list[str]]:
    """The runs that count by their FLOPs, fewest first, of each size the best setting; and sizes that are missing.

    By the FLOPs that they were told if all were: of few steps, which are whole, large models have less than those.
    """
    counting = {run.name for run in counted(runs)}
    every = [work for members in by_setting(runs) if (work := _work([run for run in members if run.name in counting]))]
    if any(work.told is None for work in every):
        every = [replace(work, told=None) for work in every]
    grouped: list[list[_Work]] = []
    for work in sorted((work for work in every if not work.failed), key=lambda work: -work.budget):
        if not grouped or work.budget < OF_ONE_BUDGET * grouped[-1][0].budget:
            grouped.append([])
        grouped[-1].append(work)
    missing = dict.fromkeys(
        size_name(work.parameters) + (f" of {work.told:.3g} FLOPs" if work.told else "") + f" ({work.failed})"
        for work in every
        if work.failed and not any(_is_among(work, of_budget) for of_budget in grouped)
    )
    return [_budget(of_budget) for of_budget in reversed(grouped)], list(missing)


def _is_among(work: _Work, of_budget: Sequence[_Work]) -> bool:
    """Whether a budget has another setting of this size, as far as it is known which budget that should be."""
    least, most = sorted((work.budget, of_budget[0].budget))
    if work.told is not None and least < OF_ONE_BUDGET * most:
        return False
    return any(
        max(work.parameters, other.parameters) <= OF_ONE_SIZE * min(work.parameters, other.parameters)
        for other in of_budget
    )


def _work(speaking: Sequence[Run]) -> _Work | None:
    """Of the runs that speak for a setting; None if it is not known how large their model is."""
    parameters = [run.parameters for run in speaking if run.parameters]
    if not parameters:
        return None
    told = plain_number(speaking[0].config.get("budget.flops")) or None
    told = None if told is None else told + (speaking[0].before("flops") or 0)
    losses = [run.loss for run in speaking]
    flops = [plain_number(run.in_all("flops")) for run in speaking]
    if any(unfinished(run) for run in speaking):
        return _Work(mean(parameters), 0.0, told, {}, "not finished")
    if any(loss is None for loss in losses):
        return _Work(mean(parameters), 0.0, told, {}, "diverged")
    if any(run.before("flops") is None for run in speaking):
        return _Work(mean(parameters), 0.0, told, {}, "began from weights of unknown cost")
    positive = [value for value in (*losses, *flops) if value is not None and value > 0]
    if len(positive) < 2 * len(speaking):
        return None
    seeds = [run.config.get("seed") for run in speaking]
    return _Work(mean(parameters), mean(positive[len(losses) :]), told, dict(zip(seeds, positive, strict=False)))


def _budget(of_budget: Sequence[_Work]) -> Budget:
    chosen = best_of_each_size((work.parameters, mean(work.losses.values()), work) for work in of_budget)
    lacking = {work.parameters: work.lacking for work in chosen if work.lacking > 1 - OF_ONE_BUDGET}
    return Budget(mean(work.flops for work in chosen), {work.parameters: work.losses for work in chosen}, lacking)
