"""Draw loss by learning rate, a line a size, from tables of runs: `python experiments/lr_transfer/draw.py`.

A table is what `python -m aaa.compare FOLDER --csv FILE` writes; the picture lies beside it.
"""

import csv
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
RATE, LOSS, PARAMETRIZATION = "optimizer.learning_rate", "val/loss", "model.parametrization"
# The tables with the column that says the size of a run.
TABLES = {
    "muon-width": "model.dim",
    "muon-depth": "model.depth",
    "adamw-width": "model.dim",
    "adamw-depth": "model.depth",
}


def curves(path: Path, size: str) -> dict[str, dict[int, dict[float, float]]]:
    """Loss by rate, by parametrization and size, of a table."""
    found: dict[str, dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row[LOSS]:
                found[row[PARAMETRIZATION]][int(row[size])][float(row[RATE])] = float(row[LOSS])
    return found


def draw(tables: dict[Path, str]) -> None:
    """A row of panels a table, one for each parametrization; the best rate of each size is marked."""
    figure, panels = plt.subplots(
        len(tables), 2, figsize=(9, 3.6 * len(tables)), squeeze=False, sharey="row", constrained_layout=True
    )
    for row, (path, size) in zip(panels, tables.items(), strict=True):
        found = curves(path, size)
        rates = sorted({rate for sizes in found.values() for losses in sizes.values() for rate in losses})
        for panel, parametrization in zip(row, ("standard", "mup"), strict=True):
            for place, (number, losses) in enumerate(sorted(found.get(parametrization, {}).items())):
                color = plt.get_cmap("viridis")(0.3 * place)
                panel.plot(
                    sorted(losses),
                    [losses[rate] for rate in sorted(losses)],
                    marker=".",
                    color=color,
                    label=str(number),
                )
                best = min(losses, key=losses.__getitem__)
                panel.plot([best], [losses[best]], marker="o", markersize=9, fillstyle="none", color=color)
            panel.set(xscale="log", xlabel="learning rate", title=f"{path.stem}, {parametrization}")
            panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            if parametrization not in found:
                panel.set_axis_off()  # not run
            else:
                panel.legend(title=size.removeprefix("model."), fontsize="small")
        row[0].set_ylabel("validation loss")
    figure.savefig(HERE / "rates.png", dpi=110)


if __name__ == "__main__":
    draw({path: size for name, size in TABLES.items() if (path := HERE / f"{name}.csv").is_file()})
