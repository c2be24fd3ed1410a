"""A disk that is full or read-only: one clear error, the last whole checkpoint is usable, no half file is left."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from aaa.errors import UserError
from aaa.saved.checkpoint import State, remove_unfinished, take_snapshot
from aaa.saved.checkpoint_folders import damage, newest_whole
from aaa.saved.checkpoint_keeper import CheckpointKeeper, Keep
from aaa.tracking.files import append_line, replace_text
from tests.e2e.conftest import SMALL, metrics, only_run
from tests.helpers.forked import start

QUIET = ["logger=none", "trainer.sample_every_steps=0", "trainer.validate_every_steps=0", "evaluation=none"]
ARGUMENTS = [argument for argument in SMALL if not argument.startswith(("evaluation.", "trainer.max_steps"))]


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A small file system of its own, where the machine lets us make one."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def train(folder: Path, *more: str) -> tuple[int, str]:
    """A run that goes on until the disk is full; its cache is elsewhere."""
    cache = f"data.cache_dir={folder.parent / 'cache'}"
    run = start(folder, "aaa.train", *ARGUMENTS, *QUIET, cache, *more)
    return run.wait(120), run.err.read_text()


@pytest.mark.slow
def test_a_full_disk_while_checkpoints_are_written(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "16m") as folder:
        more = ["trainer.max_steps=200", "trainer.save_every_steps=10", "checkpoint.keep_last=null", "resume=auto"]
        code, err = train(folder, *more)
        assert code == 1, err
        assert err.count("error: ") == 1
        assert "cannot be written" in err
        assert "earlier checkpoints are untouched: make room" in err
        run = only_run(folder)
        assert not list((run / "checkpoints").glob(".*"))
        last = newest_whole(run)
        assert last is not None
        assert all(damage(checkpoint) is None for checkpoint in (run / "checkpoints").iterdir())
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        code, err = train(folder, *more)
        assert code == 0, err
        assert f"Going on from step {int(last.name[5:])}" in err
        steps = [row["step"] for row in metrics(run) if "train/loss" in row]
        assert steps == list(range(1, 201))


def test_a_full_disk_while_metrics_are_written(tmp_path: Path) -> None:
    row = json.dumps({"step": 1, "text": "x" * 1000})
    with disk(tmp_path / "disk", "64k") as folder:
        with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written \(No space left on device\)"):
            append_until_it_fails(folder / "metrics.jsonl", row)
        written = len((folder / "metrics.jsonl").read_text().splitlines())
        assert written > 10
        assert (folder / "metrics.jsonl").read_text() == (row + "\n") * written
        with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written"):
            replace_text(folder / "metrics.jsonl", row * 1000)
        assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]
        assert (folder / "metrics.jsonl").read_text() == (row + "\n") * written


def append_until_it_fails(path: Path, row: str) -> None:
    while True:
        append_line(path, row)


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "1m") as folder:
        code, err = train(folder)
        assert code == 1
        assert "GiB free, and one checkpoint takes" in err
        assert err.count("error: ") == 1


def test_a_disk_without_room_for_the_cache(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "1m") as folder:
        run = start(folder, "aaa.encode", "data.resolution=16", "data.source.num_records=3000")
        assert run.wait(120) == 1
        err = run.err.read_text()
        assert err.count("error: ") == 1, err
        assert "GiB free, and the latent cache of" in err
        assert "Traceback" not in err
        assert not list(folder.glob(".cache/aaa/*/*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        again = start(folder, "aaa.encode", "data.resolution=16", "data.source.num_records=3000")
        assert again.wait(120) == 0, again.err.read_text()


def test_an_old_checkpoint_that_cannot_be_deleted_yet_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, folder = nn.Linear(3, 2), tmp_path / "checkpoints"
    keeper = CheckpointKeeper(folder, Keep(last=1), in_background=True)

    def save(step: int) -> None:
        state = State(step=step, seconds=1.0, cache_fingerprint="abc", ema_updates=0)
        keeper.save(take_snapshot(state, model, None, torch.optim.AdamW(model.parameters()), {}), wait=True)

    save(1)
    first, left = folder / "step-00000001", folder / ".removed-step-00000001"
    with disk(first / "in use", "64k"):
        try:
            save(2)
            save(3)
            assert [path.name for path in folder.glob("step-*")] == ["step-00000003"]
            assert caplog.text.count("step-00000001: cannot be deleted (Device or resource busy)") == 1
        finally:
            left.rename(first)
    first.rename(left)
    remove_unfinished(folder)
    assert [path.name for path in folder.iterdir()] == ["step-00000003"]
    keeper.close()


def test_a_read_only_folder(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "8m") as folder:
        (folder / "here").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        outside = tmp_path / "outside"
        outside.mkdir()
        run = start(outside, "aaa.train", *ARGUMENTS, *QUIET, f"hydra.run.dir={folder}/here/run")
        assert run.wait(120) == 1
        err = run.err.read_text()
        assert "Read-only file system" in err
        assert err.count("error: ") == 1
        assert "Traceback" not in err
