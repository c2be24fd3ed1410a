"""Validation loss by two settings, as a picture."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from aaa.reports.folding import counted
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.paired import of_one_table
from aaa.reports.runs import Run
from aaa.reports.telling import setting_keys
from aaa.tracking.printed import harmless, plot_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

MOST_VALUES = 30  # of an axis, to be read: each has a row or column with its losses written out


@dataclass(frozen=True)
class Map:
    """The last validation loss of the runs that count, by two settings that are numbers.

    Attributes:
        x, y: keys of the settings.
        others: short names of what else tells settings apart: losses are averaged over it, and over seeds.
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
    def title(self) -> str:
        """What it shows."""
        title = "validation loss" + (f", mean over {', '.join(self.others)}" if self.others else "")
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
            yield Map(x, y, [names[shown_key(key)] for key in keys if key not in (x, y)], losses, given - len(runs))


def draw_heat_maps(runs: list[Run], path: Path) -> bool:
    """Draw validation loss by each two settings, side by side; False if there are not two.

    Settings of more than `MOST_VALUES` values are left out, which is said.

    Args:
        runs: to compare.
        path: of the PNG.
    """
    found = list(maps_of(runs))
    maps = [one for one in found if max(map(len, one.values)) <= MOST_VALUES]
    if len(maps) < len(found):
        keys = dict.fromkeys(
            key
            for one in found
            for key, values in zip((one.x, one.y), one.values, strict=True)
            if len(values) > MOST_VALUES
        )
        logger.warning(
            harmless(f"Not on the map, which has at most {MOST_VALUES} values a setting: {', '.join(keys)}.")
        )
    if not maps:
        return False
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    across, down = (max(len(one.values[axis]) for one in maps) for axis in (0, 1))
    size = (1.5 + 1.1 * across) * len(maps), 1.2 + 0.6 * down
    figure, axes = plt.subplots(1, len(maps), figsize=size, squeeze=False, constrained_layout=True)
    for axis, one in zip(axes[0], maps, strict=True):
        _draw(axis, one)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _draw(axis: "Axes", one: Map) -> None:
    from matplotlib.colors import LogNorm

    xs, ys = one.values
    table = [[one.losses.get((x, y), math.nan) for x in xs] for y in ys]
    axis.imshow(table, cmap="viridis_r", aspect="auto", norm=LogNorm())
    for (x, y), loss in one.losses.items():
        said = f"{loss:.3g}" if math.isfinite(loss) else "diverged"
        axis.text(xs.index(x), ys.index(y), said, ha="center", va="center", bbox={"color": "white", "alpha": 0.7})
    axis.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axis.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axis.set(xlabel=plot_label(one.x), ylabel=plot_label(one.y))
    axis.set_title(plot_label(one.title), fontsize="medium", wrap=True)
