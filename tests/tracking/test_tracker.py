import json
import sys
from pathlib import Path
from secrets import token_hex

import pytest

from aaa.tracking.environment import without_secrets, write_environment
from aaa.tracking.tracker import METRICS, NoLogger, RunInfo, Tracker, read_metrics


def tracker(folder: Path, step: int = 0) -> Tracker:
    return Tracker(RunInfo(folder, "name", {}, [], None, step), NoLogger())


def test_metrics_are_a_json_object_a_line(tmp_path: Path) -> None:
    run = tracker(tmp_path)
    run.log(1, {"train/loss": 0.5})
    run.log(2, {"train/loss": 0.25, "samples": 64})
    assert read_metrics(tmp_path / METRICS) == [
        {"step": 1, "train/loss": 0.5},
        {"step": 2, "train/loss": 0.25, "samples": 64},
    ]


def test_a_resumed_run_forgets_what_it_will_do_again_and_half_lines(tmp_path: Path) -> None:
    run = tracker(tmp_path)
    for step in range(1, 6):
        run.log(step, {"train/loss": float(step)})
    with (tmp_path / METRICS).open("a") as lines:
        lines.write('{"step": 6, "train/')
    resumed = tracker(tmp_path, step=3)
    resumed.log(4, {"train/loss": 4.0})
    assert [row["step"] for row in read_metrics(tmp_path / METRICS)] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines())


def test_values_of_secret_keys_are_hidden_wherever_they_are() -> None:
    config = {
        "logger": {"api_key": "abc", "project": "aaa", "WANDB_API_KEY": "abc", "hub_token": "abc", "password": None},
        "list": [{"secret": "abc"}],
        "max_prompt_tokens": 16,
    }
    hidden = without_secrets(config)
    assert "abc" not in json.dumps(hidden)
    assert hidden["logger"]["project"] == "aaa"
    assert hidden["logger"]["password"] is None
    assert hidden["max_prompt_tokens"] == 16


def test_the_environment_is_recorded_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = token_hex(8)
    monkeypatch.setattr(sys, "argv", ["train.py", f"logger.api_key={secret}", "seed=1"])
    write_environment(tmp_path / "environment.json", "cpu", {"latent_cache": "f00"})
    content = (tmp_path / "environment.json").read_text()
    assert secret not in content
    assert "seed=1" in content
    assert json.loads(content)["packages"]["torch"]
