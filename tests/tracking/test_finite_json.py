"""Numbers that JSON has not are written so that every program reads the file, and read as numbers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from aaa.reports.runs import read_runs
from aaa.reports.table import as_rows, comparison
from aaa.run.going_on import Before
from aaa.run.history import copy_history
from aaa.saved.checkpoint import State
from aaa.tracking.finite_json import from_json, to_json
from aaa.tracking.tracker import METRICS, NoLogger, RunInfo, Tracker, read_metrics
from aaa.tracking.validation_rows import FOLDER, ValidationRows, newest_rows, write_rows

NOT_FINITE = [math.nan, math.inf, -math.inf]


def strictly(text: str) -> Any:
    """What a text says to a program that knows JSON alone."""
    return json.loads(text, parse_constant=pytest.fail)


def same(one: object, other: float) -> bool:
    return isinstance(one, float) and (one == other or (math.isnan(one) and math.isnan(other)))


@pytest.mark.parametrize("number", NOT_FINITE)
def test_a_number_comes_back_as_it_was(number: float) -> None:
    text = to_json({"a": number, "b": [(number, 1.5)], "c": "nano"})
    strictly(text)
    read = from_json(text)
    assert same(read["a"], number)
    assert same(read["b"][0][0], number)
    assert (read["b"][0][1], read["c"]) == (1.5, "nano")


@pytest.mark.parametrize("number", NOT_FINITE)
def test_metrics_and_validation_rows_are_json_and_numbers_again(tmp_path: Path, number: float) -> None:
    run = Tracker(RunInfo(tmp_path, "name", {}, [], None, 0), NoLogger())
    run.log(1, {"val/loss": number, "train/loss": 0.5})
    write_rows(tmp_path, ValidationRows(1, "table", ["a", "b"], [0.1, 0.2], [number, 0.5]))
    strictly((tmp_path / METRICS).read_text())
    strictly((tmp_path / FOLDER / "step-00000001.json").read_text())
    (row,) = read_metrics(tmp_path / METRICS)
    assert same(row["val/loss"], number)
    assert row["train/loss"] == 0.5
    rows = newest_rows(tmp_path, up_to_step=1)
    assert rows is not None
    assert same(rows.losses[0], number)
    assert rows.losses[1] == 0.5


@pytest.mark.parametrize("number", NOT_FINITE)
def test_what_an_earlier_version_wrote_is_read_and_copied_as_json(tmp_path: Path, number: float) -> None:
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    for folder in (earlier, later):
        folder.mkdir()
    (earlier / METRICS).write_text(json.dumps({"step": 1, "val/loss": number}) + "\n")
    (row,) = read_metrics(earlier / METRICS)
    assert same(row["val/loss"], number)
    checkpoint = earlier / "checkpoints" / "step-00000001"
    (copied,) = copy_history(Before(checkpoint, State(1, 0.0, "cache", 0), 8, None, {}), later)
    assert same(copied["val/loss"], number)
    strictly((later / METRICS).read_text())


@pytest.mark.parametrize("as_now", [True, False])
def test_a_run_that_diverged_is_shown_and_sorted_last(tmp_path: Path, as_now: bool) -> None:
    for name, loss in (("a", math.nan), ("b", 0.5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
        row = {"step": 1, "train/loss": loss, "val/loss": loss}
        (tmp_path / name / METRICS).write_text((to_json(row) if as_now else json.dumps(row)) + "\n")
    runs = read_runs([tmp_path])
    assert [row["run"] for row in as_rows(runs)] == ["b", "a"]
    table = comparison(runs)
    shown = {column.header: [str(cell) for cell in column.cells] for column in table.columns}
    assert shown["val loss"] == ["0.5", "nan"]
    assert shown["best"] == ["0.5", "-"]
