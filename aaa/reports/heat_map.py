"""Validation loss by two settings, as a picture."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from aaa.reports.cells import decimals_of
from aaa.reports.folding import counted
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.paired import of_one_table
from aaa.reports.runs import Run
from aaa.reports.telling import setting_keys
from aaa.reports.ticks import plain_ticks
from aaa.tracking.printed import harmless, plot_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

MOST_VALUES = 30  # of an axis, to be read: each has a row or column with its losses written out
FEW_VALUES = 4  # of an axis, that are a grid in any case
REPEATED = 1.5  # cells that a value of an axis has in the mean, at least, in a grid
WIDE = 10.0  # times as large the largest of positive values is as the smallest where an axis is logarithmic
DIVERGED = "diverged"
SCATTERED = (5.5, 4.5)  # inches of a map without rows and columns
MOST_MAPS, IN_A_ROW = 12, 4  # of a picture, to be read


@dataclass(frozen=True)
class Map:
    """The last validation loss of the runs that count, by two settings that are numbers.

    Attributes:
        x, y: keys of the settings.
        others: short names of what else tells settings apart, if losses are averaged over it, and over seeds.
        losses: mean loss by the values of x and y.
        left_out: runs that were judged by another validation table.
    """

    x: str
    y: str
    others: list[str]
    losses: dict[tuple[float, float], float]
    left_out: int = 0

    @property
    def values(self) -> tuple[list[float], list[float]]:
        """Of x and of y, rising."""
        xs, ys = (sorted({place[axis] for place in self.losses}) for axis in (0, 1))
        return xs, ys

    @property
    def finite(self) -> dict[tuple[float, float], float]:
        """Losses that are finite numbers: of at least one place."""
        return {place: loss for place, loss in self.losses.items() if math.isfinite(loss)}

    @property
    def is_scattered(self) -> bool:
        """Whether values hardly repeat, as in a search of continuous ranges: most rows, or columns, have one cell."""
        most = max(map(len, self.values))
        return most > FEW_VALUES and len(self.losses) < REPEATED * most

    @property
    def logarithmic(self) -> tuple[bool, bool]:
        """Of x and of y, whether the values of points are better drawn along a logarithmic axis."""
        xs, ys = self.values
        return is_logarithmic(xs), is_logarithmic(ys)

    @property
    def correlation(self) -> float:
        """How far the ranks of losses go by those of x, and by those of y: from 0 to 2."""
        losses, *of_axes = (rankdata(values) for values in ([*self.finite.values()], *zip(*self.finite, strict=True)))
        varied = [ranks for ranks in of_axes if len(set(ranks)) > 1 and len(set(losses)) > 1]
        return float(sum(abs(np.corrcoef(ranks, losses)[0, 1]) for ranks in varied))

    @property
    def title(self) -> str:
        """What it shows."""
        title = "validation loss" + (f", mean over {', '.join(self.others)}" if self.others else "")
        if self.is_scattered:
            crosses = f", crosses: {DIVERGED}" if len(self.finite) < len(self.losses) else ""
            title += f"\nstar: {min(self.finite.values()):.3g}{crosses}"
        return title + (f"\nwithout runs of another validation table ({self.left_out})" if self.left_out else "")


def numbers_among(runs: list[Run], keys: list[str]) -> list[str]:
    """Those of the keys whose values are numbers in every run."""
    return [key for key in keys if all(isinstance(run.chosen(key), int | float) for run in runs)]


def maps_of(runs: list[Run]) -> Iterator[Map]:
    """A map of each two settings that are numbers in every run; without those in which no loss is finite.

    Losses of other validation tables than the best setting's are left out: they say nothing beside these.
    """
    given, runs = len(runs), of_one_table(runs)
    keys = setting_keys(runs, by_choice=False)
    names = short_names(keys)
    judged = [(run.config, loss) for run in counted(runs) if (loss := run.last("val/loss")) is not None]
    for x, y in combinations(numbers_among(runs, keys), 2):
        found: dict[tuple[float, float], list[float]] = {}
        for config, loss in judged:
            found.setdefault((config[x], config[y]), []).append(loss)
        losses = {place: mean(values) for place, values in found.items()}
        if any(map(math.isfinite, losses.values())):
            averaged = any(len(values) > 1 for values in found.values())
            others = [names[shown_key(key)] for key in keys if averaged and key not in (x, y)]
            yield Map(x, y, others, losses, given - len(runs))


def draw_heat_maps(runs: list[Run], path: Path) -> bool:
    """Draw validation loss by each two settings, side by side; False if there are not two.

    As a point each where values hardly repeat, else in rows and columns. Of these, settings of more than `MOST_VALUES`
    values are left out, and of more than `MOST_MAPS` all but those that the loss goes by most, which is said.

    Args:
        runs: to compare.
        path: of the PNG.
    """
    found = list(maps_of(runs))
    maps = [one for one in found if one.is_scattered or max(map(len, one.values)) <= MOST_VALUES]
    if len(maps) < len(found):
        keys = dict.fromkeys(
            key
            for one in found
            if one not in maps
            for key, values in zip((one.x, one.y), one.values, strict=True)
            if len(values) > MOST_VALUES
        )
        logger.warning(
            harmless(f"Not on the map, which has at most {MOST_VALUES} values a setting: {', '.join(keys)}.")
        )
    if (more := len(maps) - MOST_MAPS) > 0:
        maps = sorted(maps, key=lambda one: -one.correlation)[:MOST_MAPS]
        logger.warning(f"On the map are the {MOST_MAPS} pairs of settings that the loss goes by most, {more} are not.")
    if not maps:
        return False
    from matplotlib.figure import Figure

    size = [max(of_axis) for of_axis in zip(*map(_inches, maps), strict=True)]
    columns, rows = min(IN_A_ROW, len(maps)), math.ceil(len(maps) / IN_A_ROW)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), constrained_layout=True)
    for number, one in enumerate(maps, start=1):
        axis = figure.add_subplot(rows, columns, number)
        draw = _draw_points if one.is_scattered else _draw_cells
        draw(axis, one)
        axis.set(xlabel=plot_label(one.x), ylabel=plot_label(one.y))
        axis.set_title("\n".join(map(plot_label, one.title.split("\n"))), fontsize="medium", wrap=True)
    figure.savefig(path, dpi=110)
    return True


def _inches(one: Map) -> tuple[float, float]:
    """How wide and high a map wants to be."""
    xs, ys = one.values
    return SCATTERED if one.is_scattered else (1.5 + 1.1 * len(xs), 1.2 + 0.6 * len(ys))


def _draw_cells(axis: "Axes", one: Map) -> None:
    from matplotlib.colors import LogNorm

    xs, ys = one.values
    table = [[one.losses.get((x, y), math.nan) for x in xs] for y in ys]
    axis.imshow(table, cmap="viridis_r", aspect="auto", norm=LogNorm())
    decimals = decimals_of(list(one.losses.values()), digits=3)
    form = ".3g" if decimals is None else f".{decimals}f"
    for (x, y), loss in one.losses.items():
        said = f"{loss:{form}}" if math.isfinite(loss) else DIVERGED
        axis.text(xs.index(x), ys.index(y), said, ha="center", va="center", bbox={"color": "white", "alpha": 0.7})
    axis.set_xticks(range(len(xs)), [_said(x) for x in xs])
    axis.set_yticks(range(len(ys)), [_said(y) for y in ys])


def _draw_points(axis: "Axes", one: Map) -> None:
    from matplotlib.colors import LogNorm

    finite = one.finite
    xs, ys = zip(*finite, strict=True)
    points = axis.scatter(xs, ys, c=list(finite.values()), cmap="viridis_r", norm=LogNorm(), edgecolors="0.3", s=60)
    plain_ticks(axis.figure.colorbar(points, ax=axis).ax, "y")
    best = min(finite, key=lambda place: finite[place])
    axis.plot(*best, "*", markersize=9, color="white", markeredgecolor="black")
    for place in one.losses.keys() - finite.keys():
        axis.plot(*place, "x", color="red")
    for name, values, is_logarithmic in zip("xy", one.values, one.logarithmic, strict=True):
        if all(isinstance(value, bool) for value in values):
            getattr(axis, f"set_{name}ticks")(values, [_said(value) for value in values])
            getattr(axis, f"set_{name}lim")(-0.5, 1.5)
        elif is_logarithmic:
            getattr(axis, f"set_{name}scale")("log")
            plain_ticks(axis, name)
    axis.tick_params("x", rotation=30)
    axis.grid(alpha=0.3)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether these rising values are spread more evenly in logarithms than as they are."""
    least, most = values[0], values[-1]
    if least <= 0 or most < WIDE * least:
        return False
    middle = math.log(median(values))
    return abs(middle - math.log(least * most) / 2) < abs(middle - math.log((least + most) / 2))


def _said(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
