"""What is said at the end of a sweep."""

from pathlib import Path

import pytest
import yaml

from aaa.run.after_sweep import LISTED, say_how_it_ended
from aaa.run.search import BASIC


def make_sweep(folder: Path, ended: list[int], number: int, planned: int = 0) -> None:
    folder.mkdir()
    hydra = {
        "sweeper": {"_target_": BASIC, "params": {"seed": ",".join(map(str, range(planned or number)))}},
        "overrides": {"task": ["model=dit_10m"]},
    }
    (folder / "multirun.yaml").write_text(yaml.dump({"hydra": hydra}))
    config = {"trainer": {"max_steps": 4}, "budget": {"flops": None, "seconds": None}}
    for job in range(number):
        run = folder / str(job)
        (run / ".hydra").mkdir(parents=True)
        (run / ".hydra" / "overrides.yaml").write_text(yaml.dump([f"seed={job}", "model=dit_10m"]))
        if job % 2 or job in ended:
            (run / "config.yaml").write_text(yaml.dump(config))
        if job in ended:
            (run / "metrics.jsonl").write_text('{"step": 4, "val/loss": 0.5}\n')
            (run / "model").mkdir()
            (run / "model" / "config.json").touch()


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> list[str]:
    monkeypatch.chdir(folder.parent)
    say_how_it_ended(folder)
    return capsys.readouterr().out.splitlines()


def test_a_whole_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path / "sweep", [0, 1], 2)
    assert told(monkeypatch, capsys, tmp_path / "sweep") == [
        "Sweep: 2 of 2 runs are finished in sweep",
        "  compare: python -m aaa.compare sweep",
    ]


def test_what_is_left_is_named_by_what_makes_it_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path / "sweep", [1], 13)
    lines = told(monkeypatch, capsys, tmp_path / "sweep")
    assert lines[0] == "Sweep: 1 of 13 runs are finished in sweep"
    assert lines[1:3] == ["  not finished: 0 (seed=0)", "  not finished: 2 (seed=2)"]
    assert lines[LISTED] == "  not finished: 10 (seed=10)"
    assert lines[LISTED + 1 :] == [
        "  ... and 2 more",
        "  to go on: the same command with sweep.resume=true",
        "  compare: python -m aaa.compare sweep",
    ]


def test_runs_that_never_began_are_counted_and_damaged_files_are_of_runs_that_are_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    make_sweep(sweep, [0, 1], 2, planned=5)
    (sweep / "1" / ".hydra" / "overrides.yaml").write_text("")
    (sweep / "1" / "config.yaml").write_text("{")
    assert told(monkeypatch, capsys, sweep) == [
        "Sweep: 1 of 5 runs are finished in sweep",
        "  not finished: 1 ()",
        "  not begun: 3",
        "  to go on: the same command with sweep.resume=true",
        "  compare: python -m aaa.compare sweep",
    ]
    (sweep / "multirun.yaml").write_text("{")
    assert told(monkeypatch, capsys, sweep)[0] == "Sweep: 1 of 2 runs are finished in sweep"


def test_a_sweep_of_which_nothing_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path / "sweep", [], 0, planned=2)
    assert told(monkeypatch, capsys, tmp_path / "sweep") == [
        "Sweep: 0 of 2 runs are finished in sweep",
        "  not begun: 2",
        "  to go on: the same command with sweep.resume=true",
    ]
