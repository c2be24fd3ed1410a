"""Validation loss by two settings, as a picture."""

import math
from pathlib import Path
from statistics import mean
from typing import Any

from aaa.reports.folding import counted
from aaa.reports.runs import Run, setting_keys
from aaa.tracking.printed import plot_label


def two_settings(runs: list[Run]) -> tuple[str, str] | None:
    """The first two keys that tell settings apart and are numbers in every run; None if there are not two."""
    keys = [key for key in setting_keys(runs) if all(isinstance(run.config.get(key), int | float) for run in runs)]
    return (keys[0], keys[1]) if len(keys) > 1 else None


def losses_by_two(runs: list[Run], keys: tuple[str, str]) -> dict[tuple[Any, Any], float]:
    """The mean last validation loss of the runs that count, by their values of two keys."""
    found: dict[tuple[Any, Any], list[float]] = {}
    for run in counted(runs):
        if (loss := run.last("val/loss")) is not None:
            found.setdefault((run.config[keys[0]], run.config[keys[1]]), []).append(loss)
    return {values: mean(losses) for values, losses in found.items()}


def draw_heat_map(runs: list[Run], path: Path) -> bool:
    """Draw the last validation loss over two settings, repeats being averaged; False if there are not two.

    Args:
        runs: to compare.
        path: of the PNG.
    """
    keys = two_settings(runs)
    cells = {} if keys is None else losses_by_two(runs, keys)
    if keys is None or not any(map(math.isfinite, cells.values())):
        return False
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import LogNorm

    xs, ys = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
    table = [[cells.get((x, y), math.nan) for x in xs] for y in ys]
    size = 1.5 + 1.1 * len(xs), 1.2 + 0.6 * len(ys)
    figure, axis = plt.subplots(figsize=size, constrained_layout=True)
    axis.imshow(table, cmap="viridis_r", aspect="auto", norm=LogNorm())
    for (x, y), loss in cells.items():
        said = f"{loss:.3g}" if math.isfinite(loss) else "diverged"
        axis.text(xs.index(x), ys.index(y), said, ha="center", va="center", bbox={"color": "white", "alpha": 0.7})
    axis.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axis.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axis.set(xlabel=plot_label(keys[0]), ylabel=plot_label(keys[1]), title="validation loss")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
