"""The same calls, taken by each tracker and read back from what it wrote."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from PIL import Image

from aaa.errors import UserError
from aaa.run.naming import overrides_of, run_name
from aaa.tracking.tensorboard_logger import TensorBoardLogger
from aaa.tracking.tracker import METRICS, Logger, RunInfo, Tracker, read_metrics
from aaa.tracking.trackio_logger import TRACKIO_ID, TrackioLogger
from aaa.tracking.wandb_logger import WandbLogger, _all_sessions
from tests.helpers.wandb_file import written_offline_run


def info(folder: Path, step: int = 0, **said: Any) -> RunInfo:
    folder.mkdir(exist_ok=True, parents=True)
    config = {"name": "n", "data": {"name": "shapes"}, "model": {"depth": 2}}
    environment = {"data": {"fingerprint": "abc"}, "git": {"commit": "c0ffee"}} | said
    return RunInfo(folder, "n depth=2", config, ["model.depth=2"], "sweep", step, environment)


def play(folder: Path, logger: Logger, **named: Any) -> None:
    """What a short run would log."""
    told = info(folder)
    tracker = Tracker(replace(told, config=told.config | named), logger)
    for step, loss in ((1, 0.9), (2, 0.5), (3, 0.7)):
        tracker.log(step, {"train/loss": loss, "samples": 8 * step, "flops": 1e9 * step})
        tracker.log(step, {"val/loss": loss + 0.1})
    tracker.log_images(3, "pictures", [Image.new("RGB", (8, 6), "red")], ["a red one"])
    tracker.log_histogram(3, "val/loss_by_sigma", [0.5, 0.25], [0.0, 0.5, 1.0])
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    tracker.log_model(model)
    tracker.finish(0)


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    play(tmp_path / "run", TensorBoardLogger())
    resumed = Tracker(info(tmp_path / "run", step=2), TensorBoardLogger())
    resumed.log(3, {"train/loss": 0.6})
    resumed.finish(0)
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    # What the first process wrote after the step that the second went on from is gone.
    assert [(e.step, round(e.value, 3)) for e in read.Scalars("train/loss")] == [(1, 0.9), (2, 0.5), (3, 0.6)]
    assert [e.step for e in read.Scalars("val/loss")] == [1, 2]
    anew = Tracker(info(tmp_path / "run"), TensorBoardLogger())  # from its beginning
    anew.log(1, {"train/loss": 0.8})
    anew.finish(0)
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    assert [(e.step, round(e.value, 3)) for e in read.Scalars("train/loss")] == [(1, 0.8)]


def test_tensorboard_has_pictures_and_bars(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    play(tmp_path / "run", TensorBoardLogger())
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    (picture,) = read.Images("pictures/0 a red one")
    assert (picture.width, picture.height) == (8, 6)
    (bars,) = read.Histograms("val/loss_by_sigma")
    assert [value for value in bars.histogram_value.bucket if value] == [0.5, 0.25]


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    play(tmp_path / "outputs" / "n" / "1", TrackioLogger("aaa-test"))
    storage = trackio.SQLiteStorage
    (name,) = storage.get_runs("aaa-test")
    assert re.search(r"outputs/n/1-[0-9a-f]{8}$", name)
    rows = storage.get_logs("aaa-test", name)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [0.9, 0.5, 0.7]
    assert [row["samples"] for row in rows if "val/loss" in row] == [8, 16, 24]
    assert any("pictures/0" in row for row in rows)


def test_trackio_goes_on_with_the_run_of_this_very_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    first, other = (tmp_path / place / "outputs" / "n" / "1" for place in ("a", "b"))

    def log(folder: Path, step: int, loss: float) -> None:
        tracker = Tracker(info(folder, step), TrackioLogger("aaa-test"))
        tracker.log(step + 1, {"train/loss": loss})
        tracker.finish(0)

    log(first, 0, 0.9)
    log(other, 0, 0.8)  # of the same name, elsewhere
    log(first, 1, 0.7)
    log(other, 0, 0.6)  # from its beginning, anew
    storage = trackio.SQLiteStorage
    logged = [storage.get_logs("aaa-test", name) for name in storage.get_runs("aaa-test")]
    assert sorted([row["train/loss"] for row in rows] for rows in logged) == [[0.6], [0.8], [0.9, 0.7]]


@pytest.mark.parametrize("what", ["same", "moved", "copied", "of an earlier version"])
def test_trackio_has_each_step_of_a_run_once_and_a_copy_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    trackio = pytest.importorskip("trackio")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    first, other = (tmp_path / "outputs" / place / "1" for place in ("n", "m"))

    def log(folder: Path, start: int, steps: range, **said: Any) -> None:
        tracker = Tracker(info(folder, start, **said), TrackioLogger("aaa-test"))
        for step in steps:
            tracker.log(step, {"train/loss": start + step})
            if step < 70 or start:  # the kill came before it was validated
                tracker.log(step, {"val/loss": start + step})
            tracker.log_images(step, "pictures", [Image.new("RGB", (8, 6), "red")], ["a red one"])
        tracker.finish(0)

    log(first, 0, range(10, 80, 10))  # and killed, after its checkpoint of step 40
    folder = other if what in ("moved", "copied") else first
    if what == "copied":
        shutil.copytree(first, other)
    elif what == "moved":
        other.parent.mkdir()
        first.rename(other)
    elif what == "of an earlier version":
        kept = first / TRACKIO_ID
        kept.write_text(kept.read_text().rpartition("-")[2])
    log(folder, 40, range(50, 100, 10), earlier=[{"output_dir": str(first)}])
    storage = trackio.SQLiteStorage
    rows = [storage.get_logs("aaa-test", name) for name in storage.get_runs("aaa-test")]
    losses = [{row["step"]: row["train/loss"] for row in of_run if "train/loss" in row} for of_run in rows]
    had = {step: step for step in range(10, 80, 10)}
    retaken = {step: 40 + step for step in range(50, 100, 10)}
    if what == "copied":
        assert sorted(losses, key=len) == [retaken, had]
        assert "is a copy of" in caplog.text
    else:
        assert losses == [retaken | had]
        validated = [row["step"] for row in rows[0] if "val/loss" in row]
        assert sorted(validated) == list(range(10, 100, 10))
        assert [len([row for row in rows[0] if row["step"] == step]) for step in (10, 60, 80)] == [3, 3, 3]
        assert "is a copy of" not in caplog.text
    assert folder.joinpath(TRACKIO_ID).read_text() in storage.get_runs("aaa-test")


def test_a_tracker_that_cannot_be_used_is_refused_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for project in ("a/b", "", None):
        with pytest.raises(UserError, match=r"logger\.project"):
            WandbLogger(project)  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    sqlite_storage = pytest.importorskip("trackio.sqlite_storage")
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "file" / "trackio")
    with pytest.raises(UserError, match=r"TRACKIO_DIR=.*file/trackio: Trackio cannot write there \(Not a directory\)"):
        TrackioLogger("aaa-test")
    for missing, made in (
        ("trackio", lambda: TrackioLogger("p")),
        ("torch.utils.tensorboard.writer", TensorBoardLogger),
    ):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(UserError, match=r"is not installed: pip install -e \"\.\[trackers\]\""):
            made()


@pytest.mark.parametrize(("given", "tags"), [("foo", ("foo",)), (["a", "b"], ("a", "b")), (None, ())])
def test_one_tag_is_a_tag_and_not_its_letters(given: Any, tags: tuple[str, ...]) -> None:
    assert WandbLogger("aaa", tags=given).tags == tags


def test_wandb_has_the_best_value_its_step_axes_bars_and_the_model(tmp_path: Path) -> None:
    play(tmp_path / "run", WandbLogger("aaa", notes="why", tags=["mine"], log_model=True))
    found = written_offline_run(tmp_path / "run")
    assert (found.name, found.group, found.notes) == ("n depth=2", "sweep", "why")
    assert {"mine", "model.depth=2"} <= set(found.tags)
    assert found.summary["best/val/loss"] == pytest.approx(0.6)
    assert found.summary["best/step"] == 2
    assert found.lowest == ["val/loss"]
    by_step = {row["_step"]: row for row in found.history}
    assert by_step[2]["val/loss"] == pytest.approx(0.6)
    assert (by_step[2]["samples"], by_step[2]["flops"]) == (16, 2e9), "x-axes of every row"
    assert by_step[3]["val/loss_by_sigma._type"] == "histogram"
    made = {artifact.type: artifact for artifact in found.artifacts}
    assert json.loads(made["model"].metadata)["git_commit"] == "c0ffee"
    assert json.loads(made["dataset"].metadata)["fingerprint"] == "abc"


def test_wandb_takes_models_and_data_of_any_name(tmp_path: Path) -> None:
    logger = WandbLogger("aaa", log_model=True)
    play(tmp_path / "run", logger, name="of mine/" + "x" * 200, data={"name": "pictures/of 2026"})
    made = {artifact.type: artifact.name for artifact in written_offline_run(tmp_path / "run").artifacts}
    assert made == {"dataset": "pictures_of_2026-latents", "model": f"of_mine_{'x' * 114}-model"}


@pytest.mark.parametrize(
    ("from_step", "losses", "best"),
    [
        (2, [0.6], (0.3, 1)),  # an earlier process had the best
        (2, [0.6, 0.1], (0.1, 4)),
        (4, [], (0.2, 4)),  # nothing is validated any more
        (1, [float("nan"), 0.4], (0.3, 1)),  # later and better ones are taken again
    ],
)
def test_the_best_value_of_a_resumed_run_is_that_of_all_its_steps(
    tmp_path: Path, from_step: int, losses: list[float], best: tuple[float, int]
) -> None:
    rows = ({"val/loss": 0.3}, {"val/loss": float("nan")}, {"train/loss": 0.01}, {"val/loss": 0.2})
    lines = [json.dumps({"step": step} | row) + "\n" for step, row in enumerate(rows, 1)]
    (tmp_path / METRICS).write_text("".join(lines))
    resumed = Tracker(info(tmp_path, step=from_step), WandbLogger("aaa"))
    for step, loss in enumerate(losses, from_step + 1):
        resumed.log(step, {"val/loss": loss})
    resumed.finish(0)
    summary = written_offline_run(tmp_path).summary
    assert (summary["best/val/loss"], summary["best/step"]) == best


def test_what_wandb_takes_no_more_of_an_earlier_step_goes_along_with_the_next() -> None:
    """A run that was stopped while it was looked at, resumed on a server that has had the step."""
    logger = WandbLogger("aaa")
    logger._run = run = mock.Mock(starting_step=5)
    logger.log(4, {"val/loss": 0.5})
    logger.log_histogram(4, "bars", [0.5], [0.0, 1.0])
    logger.log(5, {"train/loss": 0.1})
    assert [call.kwargs for call in run.log.call_args_list] == [{"commit": False}, {"commit": False}, {"step": 5}]


def test_a_resumed_run_draws_over_what_its_last_step_had_taken(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 3, "samples": 24, "seconds": 1.5, "flops": 9}\n')
    logger = mock.Mock()
    Tracker(info(tmp_path, step=3), logger).log(3, {"val/loss": 0.5})
    logger.log.assert_called_once_with(3, {"samples": 24, "seconds": 1.5, "flops": 9, "val/loss": 0.5})


def test_the_end_of_wandbs_process_is_not_that_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(info(tmp_path / "run"), WandbLogger("aaa", log_model=True))
    tracker.log(1, {"val/loss": 1.0})
    services = [child for child in psutil.Process().children(recursive=True) if child.name().startswith("wandb-core")]
    assert services
    for service in services:  # as the kernel does where memory is short
        service.kill()
    psutil.wait_procs(services, timeout=10)
    for step in range(2, 30):
        tracker.log(step, {"val/loss": 1 / step})
        tracker.log_images(step, "pictures", [Image.new("RGB", (8, 6))], ["a black one"])
        tracker.log_histogram(step, "val/loss_by_sigma", [0.5], [0.0, 1.0])
    tracker.log_model(tmp_path)
    tracker.finish(0)
    assert [row["step"] for row in read_metrics(tmp_path / "run" / METRICS)] == list(range(1, 30))
    assert caplog.text.count("W&B's process has ended") == 1
    assert caplog.text.count("wandb sync --include-online") == 1
    following = Tracker(info(tmp_path / "next"), WandbLogger("aaa"))  # of a sweep
    following.log(1, {"val/loss": 0.5})
    following.finish(0)
    assert written_offline_run(tmp_path / "next").summary["best/val/loss"] == 0.5


def test_a_run_is_called_by_what_it_changes(tmp_path: Path) -> None:
    assert run_name("shapes", [], None) == "shapes"
    changed = ["model.depth=4", "optimizer=adamw", "hydra.run.dir=x", "logger=none", "name=shapes"]
    assert run_name("shapes", changed, None) == "shapes depth=4 optimizer=adamw"
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: ['model.depth=2,4', optimizer=adamw]}}")
    assert run_name("shapes", changed, tmp_path) == "shapes depth=4"
    assert len(run_name("shapes", [f"a.b{n}=1" for n in range(99)], None)) <= 120


def test_a_resumed_run_keeps_the_name_it_began_with(tmp_path: Path) -> None:
    assert overrides_of(tmp_path, ["model.depth=4", "logger.api_key=abcdefgh"]) == [
        "model.depth=4",
        "logger.api_key=<hidden>",
    ]
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- model.depth=4\n- optimizer=adamw\n")
    assert overrides_of(tmp_path, ["resume=x", "trainer.max_steps=9"]) == ["model.depth=4", "optimizer=adamw"]
    (tmp_path / ".hydra" / "overrides.yaml").write_text("{")
    assert overrides_of(tmp_path, ["seed=1"]) == ["seed=1"]


def test_all_that_a_run_was_logged_in_is_uploaded_not_its_last_session_alone(tmp_path: Path) -> None:
    names = ["offline-run-20261101_000000-a-1", "run-20261102_000000-a-1", "offline-run-20261103_000000-a-1"]
    for name in (*names, "offline-run-20261102_000000-b-1"):
        (tmp_path / name).mkdir()
    assert _all_sessions(str(tmp_path / names[-1])) == [str(tmp_path / name) for name in names]
    other = str(tmp_path / "offline-run-20261102_000000-b-1")
    assert _all_sessions(other) == [other]
