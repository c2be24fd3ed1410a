"""How validation loss falls with parameters and with training FLOPs: a power law, fitted and drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aaa.reports.folding import counted
from aaa.reports.paired import of_one_table
from aaa.reports.plain import plain_number
from aaa.reports.runs import Run
from aaa.tracking.printed import plot_label

LEAST = 3  # different models, for a line to mean anything
APART = 1.5  # times as large the largest must be as the smallest
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


def points(runs: Sequence[Run], axis: str) -> list[tuple[float, float, str]]:
    """Parameters or FLOPs, the last validation loss and the name of each run that counts and has them, finite."""
    found = []
    for run in counted(runs):
        x = run.environment.get("model", {}).get("parameters") if axis == "parameters" else run.last(axis)
        loss = plain_number(run.last("val/loss"))
        if x and loss and loss > 0:
            found.append((float(x), loss, run.name))
    return found


def bear_a_law(xs: Sequence[float]) -> bool:
    """Whether there are sizes enough, and far enough apart, to fit a law to."""
    return len(set(xs)) >= LEAST and max(xs) >= APART * min(xs)


def draw_scaling(runs: Sequence[Run], path: Path) -> list[str]:
    """Draw loss against parameters and FLOPs, if models are of at least three sizes, not all of them nearly the same.

    Args:
        runs: to compare.
        path: of the PNG.

    Returns:
        What each law is; nothing if nothing is drawn.
    """
    given, runs = len(runs), of_one_table(runs)
    if not bear_a_law([x for x, *_ in points(runs, "parameters")]):
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    said = []
    figure, axes = plt.subplots(1, len(AXES), figsize=(6 * len(AXES), 4.5), sharey=True, constrained_layout=True)
    for axis, (key, label) in zip(axes, AXES.items(), strict=True):
        found = sorted(points(runs, key))
        xs, losses, names = ([point[place] for point in found] for place in range(3))
        axis.scatter(xs, losses, zorder=3)
        for x, loss, name in zip(xs, losses, names, strict=True):
            axis.annotate(plot_label(str(name)), (x, loss), textcoords="offset points", xytext=(5, 5), fontsize="small")
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="validation loss" if key == "parameters" else "")
        axis.grid(alpha=0.3, which="both")
        if bear_a_law(xs):  # type: ignore[arg-type]
            law = fit_power_law(xs, losses)  # type: ignore[arg-type]
            axis.plot([xs[0], xs[-1]], [law(xs[0]), law(xs[-1])], "--", color="C1")  # type: ignore[arg-type]
            axis.set_title(str(law), fontsize="medium")
            said.append(f"{label}: {law}")
    if given > len(runs):
        figure.suptitle(f"without runs of another validation table ({given - len(runs)})", fontsize="medium")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return said
