"""Loss by learning rate, a line a size, and the best rate of each: `python experiments/lr_transfer/draw.py`.

The tables of runs beside it are what `python -m aaa.compare FOLDER... --csv FILE` writes. It draws `rates.png` and
prints the table of the README: the rate of least loss, as the vertex of a parabola through the best rate and its
neighbours, over the logarithm of the rate. Where there are several seeds, losses are their means.
"""

import csv
import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
RATE, LOSS = "optimizer.learning_rate", "val/loss"
OPTIMIZERS = {"MuonWithAdamW": "Muon", "adamw": "AdamW"}
SIZES = {"width": "model.dim", "depth": "model.depth"}
PARAMETRIZATIONS = ("standard", "mup")
HEADER = ["optimizer", "over", "parametrization", *(f"size {number}" for number in range(1, 5)), "most over least"]

# Optimizer, parametrization, size: loss by rate.
Curves = dict[tuple[str, str, int], dict[float, float]]


def read(path: Path, size: str) -> Curves:
    """The curves of a table whose column `size` says how large a model is."""
    losses: dict[tuple[str, str, int], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row[LOSS]:
                optimizer = OPTIMIZERS[row["optimizer._target_"].rpartition(".")[2]]
                of_size = losses[optimizer, row["model.parametrization"], int(row[size])]
                of_size[float(row[RATE])].append(float(row[LOSS]))
    return {key: {rate: fmean(found[rate]) for rate in sorted(found)} for key, found in losses.items()}


def vertex(losses: dict[float, float]) -> float | None:
    """The rate of least loss, or None where the least is at an end of what was tried."""
    rates = list(losses)
    best = rates.index(min(rates, key=losses.__getitem__))
    if not 0 < best < len(rates) - 1:
        return None
    (left, low, right), step = (losses[rate] for rate in rates[best - 1 : best + 2]), math.log(rates[1] / rates[0])
    return rates[best] * math.exp(step * (left - right) / (2 * (left - 2 * low + right)))


def rows(name: str, curves: Curves) -> list[list[str]]:
    """Lines of the README's table: the best rate by size."""
    lines = []
    for optimizer in OPTIMIZERS.values():
        for parametrization in PARAMETRIZATIONS:
            found = {
                size: losses
                for (o, p, size), losses in sorted(curves.items())
                if (o, p) == (optimizer, parametrization)
            }
            best = {size: vertex(losses) for size, losses in found.items()}
            inside = [rate for rate in best.values() if rate is not None]
            ratio = f"{max(inside) / min(inside):.1f}" if len(inside) == len(best) > 1 else ""
            shown = [
                f"{size}: " + (f"{rate:.1e}" if rate else f"at {min(found[size], key=found[size].__getitem__):g}")
                for size, rate in best.items()
            ]
            lines.append([optimizer, name, parametrization, *shown, ratio])
    return lines


def draw(tables: dict[str, Curves]) -> None:
    """A row of panels for each sweep and optimizer, one for each parametrization; best rates are ringed."""
    wanted = [(name, curves, optimizer) for name, curves in tables.items() for optimizer in OPTIMIZERS.values()]
    layout = {"figsize": (9, 3.2 * len(wanted)), "sharey": "row", "squeeze": False, "constrained_layout": True}
    figure, panels = plt.subplots(len(wanted), 2, **layout)
    for row, (name, curves, optimizer) in zip(panels, wanted, strict=True):
        for panel, parametrization in zip(row, PARAMETRIZATIONS, strict=True):
            found = {
                size: losses
                for (o, p, size), losses in sorted(curves.items())
                if (o, p) == (optimizer, parametrization)
            }
            for place, (size, losses) in enumerate(found.items()):
                color = plt.get_cmap("viridis")(0.28 * place)
                panel.plot(list(losses), list(losses.values()), marker=".", color=color, label=str(size))
                best = min(losses, key=losses.__getitem__)
                panel.plot([best], [losses[best]], marker="o", markersize=9, fillstyle="none", color=color)
            rates = sorted({rate for losses in found.values() for rate in losses})
            panel.set(xscale="log", xlabel="learning rate", title=f"{optimizer}, {name}, {parametrization}")
            panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.legend(title=name, fontsize="small")
        lowest = min(loss for (o, _, _), losses in curves.items() if o == optimizer for loss in losses.values())
        row[0].set(ylabel="validation loss", ylim=(lowest - 0.02, min(row[0].get_ylim()[1], 1.05)))
    figure.savefig(HERE / "rates.png", dpi=110)


if __name__ == "__main__":
    read_tables = {name: read(HERE / f"{name}.csv", size) for name, size in SIZES.items()}
    draw(read_tables)
    for line in (
        HEADER,
        ["---"] * len(HEADER),
        *(line for name, curves in read_tables.items() for line in rows(name, curves)),
    ):
        print("| " + " | ".join(line) + " |")
