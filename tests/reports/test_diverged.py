"""Runs whose loss is no finite number: they are last, and end nothing."""

import json
import math
import sys
from pathlib import Path

import pytest

from aaa.compare import main
from aaa.errors import UserError
from aaa.reports.heat_map import draw_heat_maps
from aaa.reports.paired import against_best, difference, fold_seeds
from aaa.reports.runs import Run, read_runs
from aaa.reports.scaling import draw_scaling, points
from aaa.reports.table import as_rows
from tests.reports.test_paired import make_run, shown

NOT_FINITE = [math.nan, math.inf, -math.inf]


def run_of(name: str, depth: int, rate: float, loss: float) -> Run:
    config = {"model.depth": depth, "optimizer.learning_rate": rate}
    rows = [{"step": 1, "val/loss": 0.5}, {"step": 2, "flops": 1e9 * depth, "val/loss": loss}]
    return Run(Path(name), name, config, rows, {"model": {"parameters": 1000 * depth}})


@pytest.mark.parametrize("loss", NOT_FINITE)
def test_it_is_no_baseline_and_is_named(tmp_path: Path, loss: float) -> None:
    make_run(tmp_path / "a", 1e-1, 0, shift=loss)
    make_run(tmp_path / "b", 1e-3, 0, shift=0)
    make_run(tmp_path / "b1", 1e-3, 1, shift=0)
    make_run(tmp_path / "c", 2e-3, 0, shift=0.2)
    make_run(tmp_path / "c1", 2e-3, 1, shift=loss)
    runs = read_runs([tmp_path])
    assert fold_seeds(runs)[0].name == "learning_rate=0.001"
    assert against_best(runs) == {
        "a": "diverged",
        "b": "",
        "b1": "",
        "c": "diverged",
        "c1": "diverged",
    }
    for worse in fold_seeds(runs)[1:]:
        with pytest.raises(UserError, match="has diverged"):
            difference(worse, fold_seeds(runs)[0])
    assert "has diverged" in shown(runs, tmp_path)
    assert against_best(runs[:1]) == {"a": "diverged"}
    rows = as_rows(runs)
    assert {row["run"] for row in rows[:2]} == {"b", "b1"}
    assert rows[-1]["val/loss"] is None


@pytest.mark.parametrize("loss", NOT_FINITE)
def test_maps_and_fits_are_of_the_others(tmp_path: Path, loss: float) -> None:
    runs = [
        run_of("a", 1, 1.0, 0.5),
        run_of("b", 2, 1.0, 0.4),
        run_of("c", 4, 2.0, loss),
        run_of("d", 8, 2.0, 0.3),
        run_of("e", 1, 2.0, 0.6),
    ]
    assert [name for *_, name in points(runs, "flops")] == ["a", "b", "d", "e"]
    assert draw_heat_maps(runs, tmp_path / "map.png")
    assert all("nan" not in law for law in draw_scaling(runs, tmp_path / "scaling.png"))
    diverged = [
        run_of(run.name, run.config["model.depth"], run.config["optimizer.learning_rate"], loss) for run in runs
    ]
    assert not draw_heat_maps(diverged, tmp_path / "none.png")
    assert draw_scaling(diverged, tmp_path / "none.png") == []
    assert run_of("e", 1, 1.0, loss).best_with_step() == (1, 0.5)


def test_the_command_writes_json_that_any_program_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (loss, most) in enumerate([(math.nan, ".inf"), (0.0, "1.0")]):
        make_run(tmp_path / "runs" / f"{number}", 1e-3, 0, shift=loss)
        with (tmp_path / "runs" / f"{number}" / "config.yaml").open("a") as config:
            config.write(f"clip: {{most: {most}, each: [{most}]}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare", "runs", "--json", "runs.json"])
    main()
    first, last = json.loads((tmp_path / "runs.json").read_text(), parse_constant=pytest.fail)
    assert (first["clip.most"], last["clip.most"], last["clip.each"]) == (1.0, "inf", "[inf]")
    assert last["val/loss"] is None
