"""How validation loss falls with parameters and with training FLOPs: a power law, fitted and drawn."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from textwrap import fill
from typing import TYPE_CHECKING

from aaa.reports.colours import colours_of
from aaa.reports.curves import LEGEND_RUNS
from aaa.reports.folding import by_setting, counted
from aaa.reports.isoflop import BestSize, Budget, best_size, best_sizes, budgets, growth, of_how_many
from aaa.reports.labels import labels
from aaa.reports.paired import of_one_table
from aaa.reports.power_law import LEAST, PowerLaw, bear_a_law, best_of_each_size, fit_power_law
from aaa.reports.runs import Run
from aaa.reports.ticks import plain_ticks
from aaa.tracking.printed import plot_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OF_ONE_LENGTH = "runs of equally many samples"
OF_THE_BEST = "lowest mean loss of each size"
TITLE = 54  # letters in a line of what stands above a panel
CURVE = 100  # pieces of a parabola that is drawn
AXES = {"parameters": "parameters", "flops": "training FLOPs"}


def points(runs: Sequence[Run], axis: str) -> list[tuple[float, float, str]]:
    """Parameters or FLOPs, the last validation loss and the name of each run that counts and has them, finite."""
    found = []
    for run in counted(runs):
        x = run.parameters if axis == "parameters" else run.in_all(axis)
        loss = run.loss
        if x and loss and min(x, loss) > 0:
            found.append((float(x), loss, run.name))
    return found


def lowest(found: Sequence[tuple[float, float, str]], settings: Sequence[Sequence[Run]]) -> dict[float, float]:
    """The best setting of each size, its loss by its size: sizes of which some are trained badly say nothing of size.

    Args:
        found: as `points` has them.
        settings: the runs, those of a setting together, whose sizes and losses are averaged over seeds.
    """
    by_name = {name: (x, loss) for x, loss, name in found}
    places = [[by_name[run.name] for run in members if run.name in by_name] for members in settings]
    means = [tuple(mean(values) for values in zip(*of_setting, strict=True)) for of_setting in places if of_setting]
    return dict(best_of_each_size((x, loss, (x, loss)) for x, loss in means))


def as_long(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that count that were trained on equally many samples: most of them, of as many the longest.

    Larger models do not learn worse because they were trained for less. Samples of the weights that a run began from
    count; a run of which those are not known is left out.
    """
    by_samples: dict[float, list[Run]] = {}
    for run in counted(runs):
        if run.before("samples") is not None:
            by_samples.setdefault(run.in_all("samples") or 0, []).append(run)
    return by_samples[max(by_samples, key=lambda samples: (len(by_samples[samples]), samples))] if by_samples else []


def draw_scaling(runs: Sequence[Run], path: Path) -> list[str]:
    """Draw loss against parameters and FLOPs, if models are of at least three sizes, not all of them nearly the same.

    A law is of the best setting of each size, and that of parameters of runs that were trained on equally many samples.
    Where models of several sizes had equally many FLOPs, it is also drawn which of them is the best for so many.

    Args:
        runs: to compare.
        path: of the PNG.

    Returns:
        What each law is, or why there is none, and the best sizes; nothing if nothing is drawn.
    """
    given, runs = len(runs), of_one_table(runs)
    if not bear_a_law([x for x, *_ in points(runs, "parameters")]):
        return []
    from matplotlib.figure import Figure

    told, of_equal_work = labels(runs), budgets(runs)
    colours = dict(zip(told, colours_of(len(told)), strict=True))
    law = growth(of_equal_work)
    count = len(AXES) + bool(of_equal_work) + (law is not None)
    figure = Figure(figsize=(6 * count, 4.5), constrained_layout=True)
    axes = figure.subplots(1, count)
    said = []
    for axis, (key, label) in zip(axes, AXES.items(), strict=False):
        for x, loss, name in points(runs, key):
            axis.scatter(x, loss, zorder=3, color=colours[name], label=plot_label(told[name]))
        axis.set(xlabel=label, ylabel="validation loss" if key == "parameters" else "")
        if title := _draw_law(axis, runs, key):
            said.append(f"{label}: {title}")
    if of_equal_work:
        _draw_budgets(axes[len(AXES)], of_equal_work)
    if law is not None:
        _draw_growth(axes[-1], of_equal_work, law)
    for axis in axes:
        axis.set(xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    for axis in axes[1 : len(AXES) + bool(of_equal_work)]:  # along which the loss is, as along the first
        axis.sharey(axes[0])
        axis.tick_params(labelleft=False)
    for axis in axes:
        plain_ticks(axis, "x", "y")
    if len(runs) <= LEGEND_RUNS:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    if given > len(runs):
        figure.suptitle(f"without runs of another validation table ({given - len(runs)})", fontsize="medium")
    figure.savefig(path, dpi=110)
    return said + best_sizes(runs)


def _draw_law(axis: "Axes", runs: Sequence[Run], key: str) -> str:
    """Draw the law of the loss by parameters or FLOPs; what it is, or why there is none, "" if that is plain."""
    found = points(runs, key)
    fitted = points(as_long(runs), key) if key == "parameters" else found
    best, title = lowest(fitted, by_setting(runs)), ""
    if bear_a_law(list(best)):
        law = fit_power_law(list(best), list(best.values()))
        ends = min(best), max(best)
        axis.plot(ends, [law(x) for x in ends], "--", color="0.5")
        title = f"loss ~ x{law}" + (f", {OF_THE_BEST}" if len(best) < len(fitted) else "")
        title += f", of the {len(fitted)} {OF_ONE_LENGTH}" if len(fitted) < len(found) else ""
    elif len(fitted) < len(found):
        title = f"no law, which takes {LEAST} sizes among {OF_ONE_LENGTH}"
    if title:
        axis.set_title(fill(title, TITLE), fontsize="medium")
    return title


def _draw_budgets(axis: "Axes", found: Sequence[Budget]) -> None:
    """Draw the loss of each size of a budget, its parabola, and the best size with its interval."""
    for budget, colour in zip(found, colours_of(len(found)), strict=True):
        best, logs = best_size(budget), [math.log(size) for size in budget.sizes]
        label = f"{budget.flops:.3g} FLOPs"
        axis.errorbar(budget.sizes, budget.means, budget.deviations, fmt="o", capsize=3, color=colour, label=label)
        along = [math.exp(logs[0] + (logs[-1] - logs[0]) * step / CURVE) for step in range(CURVE + 1)]
        axis.plot(along, [best.loss(size) for size in along], "--", color=colour, alpha=0.7)
        if best.parameters is not None:
            lowest = best.loss(best.parameters)
            axis.plot(best.parameters, lowest, "*", markersize=14, color=colour, markeredgecolor="black", zorder=4)
            if ends := _interval(best, budget):
                axis.plot(ends, (lowest, lowest), color=colour, linewidth=3, alpha=0.4)
    axis.set(xlabel="parameters")
    axis.set_title("the best size of a budget (*), its 95% interval", fontsize="medium")
    axis.legend(fontsize="small")


def _draw_growth(axis: "Axes", found: Sequence[Budget], law: PowerLaw) -> None:
    """Draw the best size against the FLOPs of its budget, and the law of it."""
    placed = []
    for budget, colour in zip(found, colours_of(len(found)), strict=True):
        best = best_size(budget)
        if best.parameters is not None:
            placed.append(budget.flops)
            axis.plot(budget.flops, best.parameters, "*", markersize=14, color=colour, markeredgecolor="black")
            if within := _interval(best, budget):
                axis.plot((budget.flops, budget.flops), within, color=colour, linewidth=3, alpha=0.4)
    ends = placed[0], placed[-1]
    axis.plot(ends, [law(x) for x in ends], "--", color="0.5")
    axis.set(xlabel="training FLOPs", ylabel="best size, in parameters")
    axis.set_title(fill(f"best size ~ FLOPs{law}{of_how_many(found)}", TITLE), fontsize="medium")


def _interval(best: BestSize, budget: Budget) -> tuple[float, float] | None:
    """Of the best size, as far as there are sizes; None if it has none."""
    if best.low is None or best.high is None:
        return None
    return max(best.low, budget.sizes[0]), min(best.high, budget.sizes[-1])
