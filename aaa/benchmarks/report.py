"""What a benchmark found: a table in the terminal, results.json and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from aaa.reports.cells import cell, cells
from aaa.reports.columns import Column, caption, fill
from aaa.reports.ticks import plain_ticks
from aaa.tracking.files import replace_text
from aaa.tracking.finite_json import to_json

FEW = 8  # values along an axis, that each have a tick
ALWAYS = 2  # columns that stay however little room there is


@dataclass(frozen=True)
class Report:
    """Rows of measurements.

    Attributes:
        title: what was measured.
        rows: a dictionary a measurement, its keys the columns.
        plot: columns to draw: x and y, or a label and y for bars.
        notes: what the rows mean together, a sentence each.
        columns: those that the terminal shows; all of them if there are none.
    """

    title: str
    rows: Sequence[dict[str, Any]]
    plot: tuple[str, str]
    notes: Sequence[str] = field(default_factory=list)
    columns: Sequence[str] = ()

    def table(self, width: int | None = None) -> Table:
        """The rows for the terminal; without columns that no row has a value of.

        Args:
            width: letters that there is room for, else the last columns are left out; None for any number.
        """
        titles = self.columns or list(dict.fromkeys(key for row in self.rows for key in row))
        columns = []
        for title in titles:
            values = [row.get(title) for row in self.rows]
            is_numeric = any(isinstance(value, int | float) for value in values)
            if any(value is not None for value in values):
                columns.append(Column(title, cells(values) if is_numeric else [*map(cell, values)], is_numeric))
        table = Table(title=Text(self.title), caption_justify="left")
        absent = fill(table, columns, width, ALWAYS)
        table.caption = caption(self.notes, absent, "results.json or a wider terminal")
        return table

    def save(self, folder: Path, environment: dict[str, Any]) -> None:
        """Write results.json and plot.png."""
        self.write_results(folder, environment)
        self._draw(folder / "plot.png")

    def write_results(self, folder: Path, environment: dict[str, Any]) -> None:
        """Write results.json, or write it anew."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"title": self.title, "rows": list(self.rows), "notes": list(self.notes), "environment": environment}
        replace_text(folder / "results.json", to_json(content, indent=2))

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        x, y = self.plot
        rows = [row for row in self.rows if row.get(y) is not None]
        figure = Figure(figsize=(8, 4.5), constrained_layout=True)
        axis = figure.subplots()
        if all(isinstance(row[x], int | float) for row in rows):
            texts = [key for key in self.rows[0] if isinstance(self.rows[0][key], str)]
            telling = [key for key in texts if len({row.get(key) for row in rows}) > 1]
            lines: dict[str, list[dict[str, Any]]] = {}
            for row in rows:
                lines.setdefault(", ".join(f"{key} {row.get(key)}" for key in telling), []).append(row)
            for name, points in lines.items():
                axis.plot([row[x] for row in points], [row[y] for row in points], marker="o", label=name or None)
            axis.set(xlabel=x, ylabel=y, xscale="log")
            measured = sorted({row[x] for row in rows})
            if len(measured) <= FEW:
                axis.set_xticks(measured, [f"{value:g}" for value in measured])
                axis.minorticks_off()
            else:
                plain_ticks(axis, "x")
            if any(lines):
                axis.legend(fontsize="small")
        else:
            axis.barh(range(len(rows)), [row[y] for row in rows])
            axis.set_yticks(range(len(rows)), [str(row[x]) for row in rows])
            axis.invert_yaxis()
            axis.set(xlabel=y)
        axis.set_title(self.title)
        axis.grid(alpha=0.3)
        figure.savefig(path, dpi=110)
