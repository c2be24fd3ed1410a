"""Loss curves of several runs in one picture."""

import math
from pathlib import Path

from aaa.reports.colours import colours_of
from aaa.reports.labels import labels
from aaa.reports.runs import Run
from aaa.reports.ticks import plain_ticks
from aaa.tracking.printed import plot_label

LABELS = {"step": "optimizer steps", "samples": "samples", "seconds": "seconds of training"}
METRICS = ("train/loss", "val/loss")
LEGEND_RUNS = 12  # with more there is no legend


def draw_curves(runs: list[Run], path: Path) -> None:
    """Draw training and validation loss against steps, samples and seconds into a PNG.

    A metric of which every run has a single value has no curve, and no row of its own: the table says it. One that is
    not above 0 everywhere, as a loss with a dispersive term, is drawn along an axis that is not logarithmic.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    metrics = [name for name in METRICS if any(len(run.curve("step", name)[1]) > 1 for run in runs)] or METRICS[:1]
    size = (15, 4 * len(metrics))
    figure, axes = plt.subplots(
        len(metrics), len(LABELS), figsize=size, sharey="row", squeeze=False, constrained_layout=True
    )
    told = labels(runs)
    scales = [_scale(runs, metric) for metric in metrics]
    for column, (x, label) in enumerate(LABELS.items()):
        for row, metric in enumerate(metrics):
            panel, marker = axes[row, column], "." if metric == "val/loss" else ""
            for run, colour in zip(runs, colours_of(len(runs)), strict=True):
                xs, ys = run.curve(x, metric)
                panel.plot(xs, ys, color=colour, label=plot_label(told[run.name]), marker=marker)
            panel.set(xlabel=label, yscale=scales[row], ylabel=metric if column == 0 else "")
            panel.grid(alpha=0.3)
    for panel in axes.flat:
        if panel.get_yscale() == "log":
            plain_ticks(panel, "y")
    if len(runs) <= LEGEND_RUNS:
        axes[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _scale(runs: list[Run], metric: str) -> str:
    values = [value for run in runs for value in run.curve("step", metric)[1] if math.isfinite(value)]
    return "linear" if any(value <= 0 for value in values) else "log"
