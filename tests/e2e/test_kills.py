"""A run that is killed again and again, and continued each time, is the run that never stopped."""

import json
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.e2e.conftest import metrics, only_run
from tests.helpers.forked import start

COMMAND = [
    "aaa.train",
    "data.resolution=16",
    "data.source.num_records=1500",
    "data.source.num_validation=16",
    "model.dim=64",
    "model.depth=2",
    "model.heads=2",
    "trainer.batch_size=8",
    "trainer.gradient_accumulation_steps=2",
    "trainer.precision=auto",  # bf16 wherever the machine can
    "trainer.prompt_dropout=0.2",
    "trainer.max_steps=600",
    "trainer.log_every_steps=4",
    "trainer.validate_every_steps=40",
    "trainer.sample_every_steps=40",
    "trainer.save_every_steps=10",
    "sampling.steps=4",
    "sampling.num_images=4",
    "evaluation.num_images=8",
    "validation.num_records=8",
    "checkpoint.keep_last=2",
    "logger=none",
    "resume=auto",
]
# What lies about while something is being written.
MOMENTS = {
    "cache": ".cache/aaa/*.building/shard-*",
    "checkpoint": "outputs/*/*/checkpoints/.step-*/*",
    "old checkpoint": "outputs/*/*/checkpoints/.removed-*",
    "samples": "outputs/*/*/samples/.step-*",
    "model": "outputs/*/*/.model/*",
}
MEASURED_BY_THE_CLOCK = ("seconds", "perf/")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run = start(folder, *COMMAND)
    assert run.wait(300) == 0, run.err.read_text()
    return only_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [40])
def test_a_run_that_is_killed_at_any_moment_is_exact_when_it_goes_on(
    tmp_path: Path, whole_run: Path, kills: int
) -> None:
    draws = random.Random(kills)
    moments: Counter[str] = Counter()
    survived = 0
    while survived < kills:
        # Every other time a certain moment is waited for, else any may be hit.
        wanted = draws.choice(["checkpoint", "old checkpoint", "samples"]) if survived % 2 else None
        if not list(tmp_path.glob(".cache/aaa/*/index.json")):
            wanted = "cache" if moments["cache"] < kills // 4 else "checkpoint"
        elif list(tmp_path.glob("outputs/*/*/checkpoints/step-00000600")):
            wanted = "model"
        run = start(tmp_path, *COMMAND, disk_seconds=0.02)
        began, deadline = time.time(), time.monotonic() + (draws.uniform(0.0, 2.5) if wanted is None else 4.0)
        while time.monotonic() < deadline and run.process.is_alive():
            if wanted is not None and being_written(tmp_path, wanted, began):
                run.signal(signal.SIGSTOP)
                if being_written(tmp_path, wanted, began):
                    break
                run.signal(signal.SIGCONT)
            time.sleep(0.002)
        if not run.process.is_alive():
            assert run.process.exitcode == 0, run.err.read_text()
            break
        run.kill()
        survived += 1
        moments.update([name for name in MOMENTS if being_written(tmp_path, name, began)] or ["elsewhere"])
    last = start(tmp_path, *COMMAND)
    assert last.wait(300) == 0, last.err.read_text()
    print(f"{survived} kills, while there was half of: {dict(moments)}")
    assert survived >= min(kills, 25)
    assert same_in_every_number(only_run(tmp_path), whole_run)


def being_written(folder: Path, moment: str, since: float) -> bool:
    """Whether there is something half written or half deleted that is not from before."""
    for path in folder.glob(MOMENTS[moment]):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime > since or path.stat().st_ctime > since:
                return True
    return False


def same_in_every_number(run: Path, other: Path) -> bool:
    assert [timeless(row) for row in metrics(run)] == [timeless(row) for row in metrics(other)]
    files = {path.relative_to(other) for path in other.rglob("*") if path.suffix in (".safetensors", ".png", ".pt")}
    assert {path.relative_to(run) for path in run.rglob("*") if path.suffix in (".safetensors", ".png", ".pt")} == files
    for name in sorted(files):
        if name.suffix == ".safetensors":
            ours, theirs = load_file(run / name), load_file(other / name)
            assert all(ours[key].equal(theirs[key]) for key in theirs | ours), name
        else:
            assert (run / name).read_bytes() == (other / name).read_bytes(), name
    for path in other.glob("checkpoints/*/state.json"):
        theirs_state = timeless(json.loads(path.read_text()))
        ours_state = timeless(json.loads((run / path.relative_to(other)).read_text()))
        assert {**ours_state, "metrics": timeless(ours_state["metrics"])} == {
            **theirs_state,
            "metrics": timeless(theirs_state["metrics"]),
        }
    return True


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith(MEASURED_BY_THE_CLOCK)}
