"""A power law, as of loss by size, and which sizes bear one."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy import stats

from aaa.reports.paired import student

T = TypeVar("T")

LEAST = 3  # different models, for a line to mean anything
APART = 1.5  # times as large the largest must be as the smallest
OF_ONE_SIZE = 1.02  # sizes within 2% count as one: a switch adds a few parameters


@dataclass(frozen=True)
class PowerLaw:
    """`y = factor * x ** exponent`, least squares in logarithms (Kaplan et al. 2020, arXiv 2001.08361).

    Attributes:
        factor, exponent: of it.
        low, high: the exponent's 95% interval, by Student's t.
        r_squared: share of the variance of the logarithms that it explains.
    """

    factor: float
    exponent: float
    low: float
    high: float
    r_squared: float

    def __call__(self, x: float) -> float:
        """What belongs to this x."""
        return self.factor * x**self.exponent

    def __str__(self) -> str:
        return f"^{self.exponent:.3f} [{self.low:.3f}, {self.high:.3f}], R² {self.r_squared:.2f}"


def fit_power_law(xs: Sequence[float], ys: Sequence[float]) -> PowerLaw:
    """Fit the law to at least `LEAST` different, positive numbers."""
    fit = stats.linregress([math.log(x) for x in xs], [math.log(y) for y in ys])
    freedom = len(xs) - 2
    reach = student(freedom) * fit.stderr if freedom > 0 else math.inf
    slope = float(fit.slope)
    return PowerLaw(math.exp(fit.intercept), slope, slope - reach, slope + reach, float(fit.rvalue) ** 2)


def sizes(xs: Iterable[float]) -> list[float]:
    """The smallest of each size: those that are nearly as small as one are of its size."""
    smallest: list[float] = []
    for x in sorted(xs):
        if not smallest or x > OF_ONE_SIZE * smallest[-1]:
            smallest.append(x)
    return smallest


def bear_a_law(xs: Sequence[float]) -> bool:
    """Whether there are sizes enough, and far enough apart, to fit a law to."""
    return len(sizes(xs)) >= LEAST and max(xs) >= APART * min(xs)


def best_of_each_size(found: Iterable[tuple[float, float, T]]) -> list[T]:
    """Of each size what has the lowest loss, smallest first; of equal ones the smaller, and what came first.

    Args:
        found: size, loss and what has them.
    """
    in_order = sorted(found, key=lambda one: (one[1], one[0]))
    best: dict[float, T] = {}
    smallest = sizes(size for size, *_ in in_order)
    for size, _, one in in_order:
        best.setdefault(max(least for least in smallest if least <= size), one)
    return [best[size] for size in smallest]
