"""How far apart sizes are in what their first steps change, as a table and a plot."""

import math
from pathlib import Path
from typing import Literal

from rich.table import Table

from aaa.benchmarks.report import Report

PARAMETRIZATIONS = ("standard", "mup")
STYLES: dict[str, Literal["-", ":"]] = {"outputs": "-", "update": ":"}


class SizesReport(Report):
    """Rows of a layer after some steps: `values` of each kind, parametrization and size, and their `spread`."""

    @property
    def last(self) -> int:
        """The most steps that were taken."""
        return max(int(row["steps"]) for row in self.rows)

    def table(self, width: int | None = None) -> Table:
        """The rows after the most steps; the others are in results.json."""
        shown = [row for row in self.rows if row["steps"] == self.last]
        return Report(
            f"{self.title}, the largest over the least ({self.last} steps)", shown, self.plot, self.notes, self.columns
        ).table(width)

    def _draw(self, path: Path) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        axes = list(dict.fromkeys(row["along"] for row in self.rows))
        layers = list(dict.fromkeys(row["layer"] for row in self.rows))
        colors = dict(zip(layers, mpl.colormaps["tab20"](range(len(layers))), strict=False))
        figure = Figure(figsize=(10, 4 * len(axes)), constrained_layout=True)
        panels = figure.subplots(len(axes), 2, sharey="row", squeeze=False)
        for panel_row, along in zip(panels, axes, strict=True):
            for panel, parametrization in zip(panel_row, PARAMETRIZATIONS, strict=True):
                panel.axhspan(0.5, 2, color="0.93")
                for row in self.rows:
                    if row["along"] != along or row["steps"] != self.last:
                        continue
                    for kind, style in STYLES.items():
                        sizes = {int(size): value for size, value in row["values"][parametrization][kind].items()}
                        first = next(iter(sizes.values()))
                        if first:
                            relative = [value / first for value in sizes.values()]
                            panel.plot(list(sizes), relative, linestyle=style, marker=".", color=colors[row["layer"]])
                panel.set(xscale="log", yscale="log", xlabel=along, title=f"{parametrization}, by {along}")
                panel.set_xticks(list(sizes), [str(size) for size in sizes], minor=False)
                panel.minorticks_off()
                panel.grid(alpha=0.3)
            lowest, highest = (math.log2(bound) for bound in panel_row[0].get_ylim())
            powers = [2.0**power for power in range(math.floor(lowest), math.ceil(highest) + 1)]
            panel_row[0].set_yticks(powers, [f"{power:g}" for power in powers])
            panel_row[0].set_ylabel("change, over that of the smallest")
        handles = [Line2D([], [], color=color, label=layer) for layer, color in colors.items()]
        handles += [Line2D([], [], color="k", linestyle=style, label=kind) for kind, style in STYLES.items()]
        figure.legend(handles=handles, loc="outside right center", fontsize="small")
        figure.suptitle(f"{self.title}, over those of the smallest size ({self.last} steps; grey: a factor 2)")
        figure.savefig(path, dpi=110)
