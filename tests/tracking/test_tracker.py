import json
import sys
from pathlib import Path
from secrets import token_hex

import pytest

from aaa.tracking.environment import without_secrets, write_environment
from aaa.tracking.files import append_line
from aaa.tracking.tracker import METRICS, ODD_STEPS, NoLogger, RunInfo, Tracker, read_metrics


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


def test_rows_that_measured_something_are_found_without_reading_the_rest(tmp_path: Path) -> None:
    run = tracker(tmp_path)
    for step in range(1, 9):
        run.log(step, {"train/loss": 0.5})
        if step % 4 == 0:
            run.log(step, {"val/loss": float(step), "note": float("nan")})
    rows = read_metrics(tmp_path / METRICS, having="val/loss")
    assert [(row["step"], row["val/loss"]) for row in rows] == [(4, 4.0), (8, 8.0)]
    assert len(read_metrics(tmp_path / METRICS)) == 10
    first, second = (list(row) for row in rows)
    assert all(one is other for one, other in zip(first, second, strict=True))  # in memory once


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


@pytest.mark.parametrize(
    "left",
    [
        pytest.param('{"step": 4, "train/', id="half a row"),
        pytest.param('{"step": 3, "train/loss": 3.0}', id="a row without its end of line"),
        pytest.param("\0" * 40, id="what some file systems leave after a power cut"),
    ],
)
@pytest.mark.parametrize("name", [METRICS, ODD_STEPS])
def test_the_first_row_after_a_crash_does_not_end_up_on_the_line_that_it_cut_short(
    tmp_path: Path, name: str, left: str
) -> None:
    whole = "".join(json.dumps({"step": step, "train/loss": float(step)}) + "\n" for step in (1, 2, 3))
    (tmp_path / name).write_text(whole.removesuffix(left + "\n") + left)
    tracker(tmp_path, step=3)
    append_line(tmp_path / name, json.dumps({"step": 4, "train/loss": 4.0}))
    assert [json.loads(line)["step"] for line in (tmp_path / name).read_text().splitlines()] == [1, 2, 3, 4]


def test_rows_that_are_whole_are_left_alone(tmp_path: Path) -> None:
    first = tracker(tmp_path)
    for step, value in ((1, 1e-7), (2, float("nan")), (3, float("inf"))):
        first.log(step, {"train/loss": value})
    written = (tmp_path / METRICS).stat()
    tracker(tmp_path, step=3)
    assert (tmp_path / METRICS).stat().st_ino == written.st_ino


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
