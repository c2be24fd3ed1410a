import json
import math
from pathlib import Path

import pytest
from matplotlib.patches import Rectangle
from PIL import Image
from rich.console import Console

from aaa.benchmarks.report import Report
from tests.helpers.saved_figures import saved_figures


def test_a_report_is_a_table_a_file_and_a_plot(tmp_path: Path) -> None:
    rows = [
        {"precision": "bf16", "batch": 1, "images/s": 2.5},
        {"precision": "bf16", "batch": 4, "images/s": 3.25},
        {"precision": "bf16", "batch": 99, "images/s": math.nan, "note": "does not fit"},
    ]
    report = Report("steps", rows, ("batch", "images/s"), ["fastest: 4"])
    console = Console(record=True, width=120)
    console.print(report.table())
    text = console.export_text()
    assert "3.25" in text
    assert "does not fit" in text
    assert "fastest: 4" in text
    report.save(tmp_path / "out", {"device": "cpu"})
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved["rows"] == [*rows[:2], rows[2] | {"images/s": "nan"}]
    assert saved["environment"] == {"device": "cpu"}
    assert Image.open(tmp_path / "out" / "plot.png").width > 300


def test_a_narrow_terminal_has_whole_columns_and_none_without_values() -> None:
    names = ("precision", "batch", "images/s", "step ms", "peak GiB")
    rows = [dict(zip(names, ("bf16_weights", 4, 2.5, 100.25, 1.5), strict=True))]
    report = Report("steps", rows, ("batch", "images/s"), columns=(*names, "note"))
    assert [column.header for column in report.table().columns] == [*names], "no row has a note"
    console = Console(record=True, width=44)
    console.print(report.table(44))
    text = console.export_text()
    assert "bf16_weights" in text
    assert "no room for: peak GiB (results.json" in " ".join(text.split())


def test_a_plot_names_what_differs_and_has_ticks_at_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = saved_figures(monkeypatch)
    rows = [
        {"precision": precision, "compiled": "no", "batch": batch, "images/s": 1.0 * batch}
        for precision in ("float32", "bf16")
        for batch in (4, 16)
    ]
    Report("steps", rows, ("batch", "images/s")).save(tmp_path, {})
    (axis,) = figures[0].axes
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["precision float32", "precision bf16"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["4", "16"]


def test_rows_of_one_name_have_a_bar_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = saved_figures(monkeypatch)
    rows = [{"loop": name, "ms": ms} for name, ms in (("ours", 1.0), ("ours", 3.0), ("theirs", 5.0))]
    Report("bars", rows, ("loop", "ms")).save(tmp_path / "bars", {})
    assert (tmp_path / "bars" / "plot.png").is_file()
    bars = [bar for axis in figures[0].axes for bar in axis.patches if isinstance(bar, Rectangle)]
    assert len({round(bar.get_y(), 6) for bar in bars}) == 3
