import json
import re
from pathlib import Path
from typing import Any

from aaa.reports.folding import counted, left_out, unfinished
from aaa.reports.heat_map import maps_of
from aaa.reports.page import write_page
from aaa.reports.runs import Run
from aaa.reports.scaling import points


def run_of(name: str, step: int, max_steps: int | None = 100, seed: int = 0, **config: Any) -> Run:
    steps = {} if max_steps is None else {"trainer.max_steps": max_steps}
    rows = [{"step": step, "val/loss": 10 / (step or 1)}, {"step": step + 5, "train/loss": 1.0}]
    return Run(Path(name), name, {"seed": seed} | steps | config, rows, {"model": {"parameters": 1000}})


def test_a_run_that_was_stopped_does_not_count_beside_one_that_was_not() -> None:
    runs = [run_of("a", 100, depth=4), run_of("b", 20, depth=4), run_of("c", 20, depth=2), run_of("d", 20, None)]
    assert left_out(runs) == {"b": "not finished: validated at step 20 of 100"}
    assert [unfinished(run) for run in runs] == [None, "step 20 of 100", "step 20 of 100", None]
    assert left_out([run_of("a", 0), run_of("b", 100)]) == {"a": "not finished: not validated yet"}
    assert left_out([run_of("a", 10, None), run_of("b", 20, None)]) == {"a": "not finished: validated at step 10"}


def test_of_a_seed_the_last_run_counts() -> None:
    runs = [run_of("a", 100), run_of("b", 100), run_of("c", 100, seed=1), run_of("d", 50)]
    assert left_out(runs) == {"a": "seed 0 again: b counts", "d": "not finished: validated at step 50 of 100"}
    assert [run.name for run in counted(runs)] == ["b", "c"]


def test_averages_and_fits_are_of_runs_that_count(tmp_path: Path) -> None:
    runs = [
        run_of(f"{depth}-{rate}-{step}", step, depth=depth, rate=rate)
        for depth in (2, 4)
        for rate in (0.1, 0.2)
        for step in (20, 100)
    ]
    whole = {"2-0.1-100", "2-0.2-100", "4-0.1-100", "4-0.2-100"}
    assert {name for *_, name in points(runs, "parameters")} == whole
    assert next(maps_of(runs)).losses == {(depth, rate): 0.1 for depth in (2, 4) for rate in (0.1, 0.2)}
    write_page(runs, tmp_path / "compare.html")
    found = re.search(r'type="application/json">(.*?)</script>', (tmp_path / "compare.html").read_text(), re.S)
    assert found is not None
    assert {run["name"] for run in json.loads(found[1])["runs"] if run["counts"]} == whole
