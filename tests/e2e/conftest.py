import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aaa.tracking.tracker import read_metrics
from tests.helpers.forked import start

# A run that takes seconds: few small pictures, few steps.
SMALL = [
    "data.resolution=16",
    "data.source.num_records=48",
    "data.source.num_validation=16",
    "model.dim=64",
    "model.depth=2",
    "model.heads=2",
    "trainer.batch_size=8",
    "trainer.max_steps=12",
    "trainer.log_every_steps=1",
    "trainer.validate_every_steps=6",
    "trainer.sample_every_steps=6",
    "trainer.save_every_steps=6",
    "sampling.steps=4",
    "sampling.num_images=4",
    "evaluation.num_images=8",
    "validation.num_records=8",
]


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error message, of which there must be exactly one, without a traceback."""
        assert self.code == 1, self.err
        assert "Traceback" not in self.err, self.err
        assert self.err.count("error: ") == 1, self.err
        return self.err[self.err.index("error: ") :]


Command = Callable[..., Finished]


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


def run_in(folder: Path, *arguments: str, **environment: str) -> Finished:
    variables = os.environ | {"WANDB_MODE": "offline", "COLUMNS": "200"} | environment
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=400
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def launch_in(folder: Path, processes: int, *arguments: str, **environment: str) -> Finished:
    """The same in several processes on the CPU, which `accelerate launch --cpu` would start but one of."""
    launch = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    return run_in(folder, *launch, *arguments, **{"OMP_NUM_THREADS": "1"} | environment)


def fork_in(folder: Path, *arguments: str, **environment: str) -> Finished:
    """The same in a process that has torch imported already, which most errors are found in time without."""
    forked = start(folder, *arguments, environment=environment)
    code = forked.wait(400)
    return Finished(code, forked.out.read_text(), forked.err.read_text())


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest) -> Command:
    """Run `python -m ...` in a fresh folder; forked in modules that say so with `FORKED = True`."""
    run = fork_in if getattr(request.module, "FORKED", False) else run_in
    return lambda *arguments, **environment: run(tmp_path, *arguments, **environment)


@pytest.fixture(scope="session")
def small_run(session_folder: Path) -> tuple[Path, Finished]:
    """A finished small run, shared by the tests that only read it."""
    done = run_in(session_folder, "aaa.train", *SMALL)
    assert done.code == 0, done.err
    return only_run(session_folder), done


def only_run(folder: Path) -> Path:
    (run,) = folder.glob("outputs/*/*")
    return run


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[int, float]:
    return {row["step"]: row["train/loss"] for row in metrics(run) if "train/loss" in row}


def steps_so_far(run: Path) -> list[int]:
    """The steps that a run has written down; half a row that it is writing, or was when it was killed, is no step."""
    return [row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row]


def bench_results(folder: Path) -> dict[str, Any]:
    """What the one benchmark of a folder has found."""
    (found,) = folder.glob("outputs/bench/*/results.json")
    assert (found.parent / "plot.png").is_file()
    return json.loads(found.read_text())
