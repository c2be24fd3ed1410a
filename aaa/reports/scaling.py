"""How validation loss falls with parameters and with training FLOPs: a power law, fitted and drawn."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from textwrap import fill

from aaa.reports.colours import colours_of
from aaa.reports.curves import MOST_NAMED
from aaa.reports.folding import by_setting, counted
from aaa.reports.labels import labels
from aaa.reports.paired import of_one_table
from aaa.reports.plain import plain_number
from aaa.reports.runs import Run
from aaa.reports.ticks import plain_ticks
from aaa.tracking.printed import plot_label

LEAST = 3  # different models, for a line to mean anything
APART = 1.5  # times as large the largest must be as the smallest
OF_ONE_SIZE = 1.02  # times as large as the smallest of a size others of it may be: a switch adds a few parameters
OF_ONE_LENGTH = "runs of equally many samples"
OF_THE_BEST = "lowest mean loss of each size"
TITLE = 54  # letters in a line of what stands above a panel
AXES = {"parameters": "parameters", "flops": "training FLOPs"}


@dataclass(frozen=True)
class PowerLaw:
    """`loss = factor * x ** exponent`, least squares in logarithms (Kaplan et al. 2020, arXiv 2001.08361).

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
        """The loss at this size."""
        return self.factor * x**self.exponent

    def __str__(self) -> str:
        return f"loss ~ x^{self.exponent:.3f} [{self.low:.3f}, {self.high:.3f}], R² {self.r_squared:.2f}"


def fit_power_law(xs: Sequence[float], losses: Sequence[float]) -> PowerLaw:
    """Fit the law to at least `LEAST` different, positive numbers."""
    from scipy import stats

    fit = stats.linregress([math.log(x) for x in xs], [math.log(loss) for loss in losses])
    freedom = len(xs) - 2
    reach = float(stats.t.ppf(0.975, freedom)) * fit.stderr if freedom > 0 else math.inf
    slope = float(fit.slope)
    return PowerLaw(math.exp(fit.intercept), slope, slope - reach, slope + reach, float(fit.rvalue) ** 2)


def parameters_of(run: Run) -> float | None:
    """How many parameters the model of a run has, None if its environment.json does not say."""
    model = run.environment.get("model")
    return plain_number(model.get("parameters")) if isinstance(model, dict) else None


def points(runs: Sequence[Run], axis: str) -> list[tuple[float, float, str]]:
    """Parameters or FLOPs, the last validation loss and the name of each run that counts and has them, finite."""
    found = []
    for run in counted(runs):
        x = parameters_of(run) if axis == "parameters" else run.last(axis)
        loss = plain_number(run.last("val/loss"))
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
    smallest = sizes([x for x, _ in means])
    best: dict[float, tuple[float, float]] = {}
    for x, loss in means:
        size = max(least for least in smallest if least <= x)
        best[size] = min((loss, x), best.get(size, (math.inf, x)))
    return {x: loss for loss, x in best.values()}


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


def as_long(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that count that were trained on equally many samples: most of them, of as many the longest.

    Larger models do not learn worse because they were trained for less.
    """
    by_samples: dict[float, list[Run]] = {}
    for run in counted(runs):
        by_samples.setdefault(run.last("samples") or 0, []).append(run)
    return by_samples[max(by_samples, key=lambda samples: (len(by_samples[samples]), samples))] if by_samples else []


def draw_scaling(runs: Sequence[Run], path: Path) -> list[str]:
    """Draw loss against parameters and FLOPs, if models are of at least three sizes, not all of them nearly the same.

    A law is of the best setting of each size, and that of parameters of runs that were trained on equally many samples.

    Args:
        runs: to compare.
        path: of the PNG.

    Returns:
        What each law is, or why there is none; nothing if nothing is drawn.
    """
    given, runs = len(runs), of_one_table(runs)
    if not bear_a_law([x for x, *_ in points(runs, "parameters")]):
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    told, said, settings = labels(runs), [], by_setting(runs)
    colours = dict(zip(told, colours_of(len(told)), strict=True))
    figure, axes = plt.subplots(1, len(AXES), figsize=(6 * len(AXES), 4.5), sharey=True, constrained_layout=True)
    for axis, (key, label) in zip(axes, AXES.items(), strict=True):
        found = points(runs, key)
        for x, loss, name in found:
            axis.scatter(x, loss, zorder=3, color=colours[name], label=plot_label(told[name]))
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="validation loss" if key == "parameters" else "")
        axis.grid(alpha=0.3)
        fitted = points(as_long(runs), key) if key == "parameters" else found
        best, title = lowest(fitted, settings), ""
        if bear_a_law(list(best)):
            law = fit_power_law(list(best), list(best.values()))
            ends = min(best), max(best)
            axis.plot(ends, [law(x) for x in ends], "--", color="0.5")
            title = str(law) + (f", {OF_THE_BEST}" if len(best) < len(fitted) else "")
            title += f", of the {len(fitted)} {OF_ONE_LENGTH}" if len(fitted) < len(found) else ""
        elif len(fitted) < len(found):
            title = f"no law, which takes {LEAST} sizes among {OF_ONE_LENGTH}"
        if title:
            axis.set_title(fill(title, TITLE), fontsize="medium")
            said.append(f"{label}: {title}")
    for axis in axes:
        plain_ticks(axis, "x", "y")
    if len(runs) <= MOST_NAMED:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    if given > len(runs):
        figure.suptitle(f"without runs of another validation table ({given - len(runs)})", fontsize="medium")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return said
