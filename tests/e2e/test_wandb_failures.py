"""A W&B server that refuses, hangs or fails: training goes on, nothing is lost, and it is said once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Finished, losses, only_run, run_in
from tests.helpers.waiting import wait_until
from tests.helpers.wandb_file import read_offline_run
from tests.helpers.wandb_server import wandb_server

SmallRun = tuple[Path, Finished]
QUICK = ["logger.init_timeout_seconds=4", "logger.finish_timeout_seconds=5", "trainer.sample_every_steps=0"]
CANNOT, NOT_ALL = "W&B cannot be reached", "W&B has not taken everything"


@pytest.mark.parametrize("failing", ["refuse", pytest.param("hang", marks=pytest.mark.slow)])
def test_a_server_that_is_not_there_at_the_start(tmp_path: Path, small_run: SmallRun, failing: str) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    with wandb_server() as server:
        server.failing = failing
        environment = server.environment
        if failing == "refuse":
            server.shutdown()
            server.server_close()
        done = run_in(tmp_path, "aaa.train", *SMALL, *QUICK, **environment)
    assert done.code == 0, done.err
    assert done.err.count(CANNOT) == 1
    assert done.err.count("wandb sync") == 1
    run = only_run(tmp_path)
    found = read_offline_run(run)
    assert {int(row["_step"]): row["train/loss"] for row in found.history if "train/loss" in row} == losses(run)
    assert found.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["error", "hang"])
def test_a_server_that_fails_in_mid_run(tmp_path: Path, small_run: SmallRun, failing: str) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    arguments = [
        *SMALL,
        *QUICK,
        "trainer.max_steps=300",
        "trainer.validate_every_steps=0",
        "trainer.save_every_steps=0",
        "logger.init_timeout_seconds=60",  # here it answers, however busy the machine is
    ]
    with (
        wandb_server() as server,
        subprocess.Popen(
            [sys.executable, "-m", "aaa.train", *arguments],
            cwd=tmp_path,
            env=os.environ | server.environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        wait_until(lambda: list(tmp_path.glob("outputs/*/*/metrics.jsonl")))
        server.failing = failing
        _, err = process.communicate(timeout=120)
        server.failing = None
        server.requests.clear()
        folder = Path(err.partition("wandb sync --include-online ")[2].splitlines()[0])
        synced = run_in(tmp_path, "wandb", "sync", "--yes", "--include-online", str(folder), **server.environment)
        sent = [json.loads(body)["files"] for path, body in server.requests if path.endswith("/file_stream")]
    assert process.returncode == 0, err
    assert err.count(NOT_ALL) == 1
    assert CANNOT not in err
    run = only_run(tmp_path)
    assert list(losses(run)) == list(range(1, 301))
    assert synced.code == 0, synced.err
    rows = [json.loads(row) for files in sent for row in files.get("wandb-history.jsonl", {}).get("content", [])]
    assert {row["_step"]: row["train/loss"] for row in rows if "train/loss" in row} == losses(run)
    assert folder.parent == run / "wandb"
    found = read_offline_run(run)
    assert {int(row["_step"]): row["train/loss"] for row in found.history if "train/loss" in row} == losses(run)
