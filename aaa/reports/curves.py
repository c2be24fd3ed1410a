"""Loss curves of several runs in one picture."""

from pathlib import Path

from aaa.reports.runs import Run
from aaa.tracking.printed import plot_label

LABELS = {"step": "optimizer steps", "samples": "samples", "seconds": "seconds of training"}


def draw_curves(runs: list[Run], path: Path) -> None:
    """Draw training and validation loss against steps, samples and seconds into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(LABELS), figsize=(15, 8), sharey="row", constrained_layout=True)
    for column, (x, label) in enumerate(LABELS.items()):
        for row, metric in enumerate(("train/loss", "val/loss")):
            for number, run in enumerate(runs):
                xs, ys = run.curve(x, metric)
                axes[row, column].plot(
                    xs, ys, color=f"C{number % 10}", label=plot_label(run.name), marker="." if row else ""
                )
            axes[row, column].set(xlabel=label, yscale="log", ylabel=metric if column == 0 else "")
            axes[row, column].grid(alpha=0.3)
    if len(runs) <= 12:
        axes[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)
