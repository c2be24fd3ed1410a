"""What is said at the end of a sweep."""

from pathlib import Path

import pytest
import yaml

from aaa.run import claim
from aaa.run.after_sweep import LISTED, say_how_it_ended


def make_sweep(folder: Path, ended: list[int], number: int) -> None:
    (folder / "multirun.yaml").parent.mkdir(parents=True)
    (folder / "multirun.yaml").touch()
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
    monkeypatch.setattr(claim, "_claimed", {folder: None})
    say_how_it_ended()
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


def test_nothing_is_said_of_a_folder_that_is_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    assert told(monkeypatch, capsys, tmp_path / "run") == []
