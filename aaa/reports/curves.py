"""Loss curves of several runs in one picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aaa.reports.colours import colours_of
from aaa.reports.folding import by_setting
from aaa.reports.heat_map import is_logarithmic, numbers_among
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.labels import description, labels
from aaa.reports.runs import Run
from aaa.reports.telling import setting_keys
from aaa.reports.ticks import plain_ticks
from aaa.tracking.printed import plot_label

LABELS = {"step": "optimizer steps", "samples": "samples", "seconds": "seconds of training"}
METRICS = ("train/loss", "val/loss")
FROM_UNKNOWN = "dashed: began from weights of unknown cost, and is drawn from its own beginning"
LEGEND_RUNS = 12  # with more there is no legend in a panel
LEGEND_SETTINGS, IN_A_ROW = 24, 4  # of more runs, for one below the figure


@dataclass(frozen=True)
class _Colouring:
    """Which run has which colour, and how that is said.

    Attributes:
        colours: by the run's name.
        legend: what each colour is called; empty where a bar says it.
        bar: of numbers, and what they are; None where a legend says it.
    """

    colours: Mapping[str, Any]
    legend: Mapping[str, Any]
    bar: tuple[Any, str] | None = None


def draw_curves(runs: list[Run], path: Path) -> None:
    """Draw training and validation loss against steps, samples and seconds into a PNG.

    A metric of which every run has a single value has no curve, and no row of its own: the table says it. One that is
    not above 0 everywhere, as a loss with a dispersive term, is drawn along an axis that is not logarithmic. Samples
    are left out where all runs have the same of each step: it is the same picture.

    Curves of runs that began from trained weights begin where these ended; where that is not known they begin at 0, are
    dashed, and it is said.

    Of many runs those of one setting share a colour; of many settings, those of one value of the key with most values.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    metrics = [name for name in METRICS if any(len(run.curve("step", name)[1]) > 1 for run in runs)] or METRICS[:1]
    along = {x: label for x, label in LABELS.items() if x != "samples" or not _is_of_equal_batches(runs)}
    size = (5 * len(along), 4 * len(metrics))
    figure = Figure(figsize=size, constrained_layout=True)
    axes = figure.subplots(len(metrics), len(along), sharey="row", squeeze=False)
    coloured = _colouring(runs)
    scales = [_scale(runs, metric) for metric in metrics]
    for column, (x, label) in enumerate(along.items()):
        for row, metric in enumerate(metrics):
            panel, marker = axes[row, column], "." if metric == "val/loss" else ""
            for run in runs:
                xs, ys = run.curve(x, metric)
                style = "-" if run.before(x) is not None else "--"
                panel.plot(xs, ys, style, color=coloured.colours[run.name], marker=marker)
            panel.set(xlabel=label, yscale=scales[row], ylabel=metric if column == 0 else "")
            panel.grid(alpha=0.3)
    for panel in axes.flat:
        if panel.get_yscale() == "log":
            plain_ticks(panel, "y")
    named = [Line2D([], [], color=colour, label=plot_label(told)) for told, colour in coloured.legend.items()]
    if coloured.bar is not None:
        numbers, key = coloured.bar
        bar = figure.colorbar(numbers, ax=axes, label=plot_label(key))
        if isinstance(numbers.norm, LogNorm):
            plain_ticks(bar.ax, "y")
    elif len(runs) <= LEGEND_RUNS:
        axes[0, 0].legend(handles=named, fontsize="small")
    else:
        figure.legend(handles=named, fontsize="small", loc="outside lower center", ncols=IN_A_ROW)
    if any(run.before(x) is None for run in runs for x in along):
        figure.suptitle(FROM_UNKNOWN, fontsize="medium")
    figure.savefig(path, dpi=110)


def _colouring(runs: list[Run]) -> _Colouring:
    told = labels(runs)
    if len(runs) <= LEGEND_RUNS:
        colours = dict(zip((run.name for run in runs), colours_of(len(runs)), strict=True))
        return _Colouring(colours, {told[name]: colour for name, colour in colours.items()})
    settings, keys = by_setting(runs), setting_keys(runs)
    numbers = numbers_among(runs, setting_keys(runs, by_choice=False))
    if len(settings) > LEGEND_SETTINGS and numbers:
        return _by_number(runs, max(numbers, key=lambda key: len({run.value(key) for run in runs})))
    of_settings = colours_of(len(settings))
    by_run = {run.name: colour for members, colour in zip(settings, of_settings, strict=True) for run in members}
    if len(settings) > LEGEND_SETTINGS:
        return _Colouring(by_run, {})
    names = short_names(keys)
    titles = [description(members[0], keys, names) or members[0].name for members in settings]
    return _Colouring(by_run, dict(zip(titles, of_settings, strict=True)))


def _by_number(runs: Sequence[Run], key: str) -> _Colouring:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    values = {run.name: float(run.value(key)) for run in runs}
    ends = min(values.values()), max(values.values())
    norm = (LogNorm if is_logarithmic(sorted(set(values.values()))) else Normalize)(*ends)
    scale = colormaps["viridis"]
    by_run = {name: scale(norm(value)) for name, value in values.items()}
    return _Colouring(by_run, {}, (ScalarMappable(norm, scale), shown_key(key)))


def _is_of_equal_batches(runs: list[Run]) -> bool:
    rows = [row for run in runs for row in run.metrics if row.get("step") and row.get("samples")]
    rows += [{"step": step, "samples": run.before("samples") or 0} for run in runs if (step := run.before("step"))]
    return len({row["samples"] / row["step"] for row in rows}) == 1


def _scale(runs: list[Run], metric: str) -> str:
    values = [value for run in runs for value in run.curve("step", metric)[1] if math.isfinite(value)]
    return "linear" if any(value <= 0 for value in values) else "log"
