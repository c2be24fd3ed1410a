"""What a benchmark found: a table in the terminal, results.json and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from aaa.reports.cells import cell
from aaa.tracking.files import replace_text
from aaa.tracking.finite_json import to_json


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

    def table(self) -> Table:
        """The rows for the terminal."""
        columns = self.columns or list(dict.fromkeys(key for row in self.rows for key in row))
        table = Table(title=Text(self.title), caption=Text("\n".join(self.notes)), caption_justify="left")
        for column in columns:
            numeric = any(isinstance(row.get(column), int | float) for row in self.rows)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(cell(row.get(column)) for column in columns))
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
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt

        x, y = self.plot
        rows = [row for row in self.rows if row.get(y) is not None]
        figure, axis = plt.subplots(figsize=(8, 4.5), constrained_layout=True)
        if all(isinstance(row[x], int | float) for row in rows):
            text_columns = [key for key in self.rows[0] if isinstance(self.rows[0][key], str)]
            lines: dict[str, list[dict[str, Any]]] = {}
            for row in rows:
                lines.setdefault(", ".join(str(row.get(key)) for key in text_columns), []).append(row)
            for name, points in lines.items():
                axis.plot([row[x] for row in points], [row[y] for row in points], marker="o", label=name or None)
            axis.set(xlabel=x, ylabel=y, xscale="log")
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
        plt.close(figure)
