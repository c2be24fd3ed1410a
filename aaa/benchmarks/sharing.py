"""What is left of a run's speed when the machine does other things too: another run, or programs that never rest."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from aaa.benchmarks.commands import QUIET, typed
from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.errors import UserError
from aaa.tracking.tracker import METRICS, read_metrics

ENDLESS = ("evaluation=none", "trainer.max_steps=1000000", "trainer.log_every_steps=1", "lr_scheduler=constant")
ALONE, TOGETHER, BESIDE_LOOPS = "alone", "two side by side", "beside two endless loops"
POLL_SECONDS, WARM_UP_STEPS = 0.2, 2
PATIENCE_SECONDS = 300
# How long threads spin before they sleep: what the runtime does by itself (GNU's libgomp), and what this project sets.
SPINNING: dict[str, dict[str, str]] = {"the runtime's own": {"GOMP_SPINCOUNT": "300000"}, "ours": {}}


class Sharing:
    """Runs the training command for so many seconds alone, twice at once, and beside two endless loops.

    Args:
        seconds: that pictures are counted for, once all runs of a situation train.
        repeats: of all situations, one after the other; the best of each counts.
    """

    def __init__(self, seconds: float, repeats: Count) -> None:
        self.seconds, self.repeats = seconds, repeats

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        if device != "cpu":
            raise UserError("bench=sharing: measures how processes share a processor. Say trainer.device=cpu.")
        rows = [
            self._row(spinning, variables, typed(), config.trainer.batch_size)
            for spinning, variables in SPINNING.items()
        ]
        alone = [row[ALONE] for row in rows]
        notes = [f"alone, ours makes {alone[1] / alone[0]:.2f} of what the runtime's own does"]
        return Report(f"{config.model.name}: images/s of each run", rows, ("threads spin", TOGETHER), notes)

    def _row(
        self, spinning: str, variables: Mapping[str, str], overrides: Sequence[str], batch_size: int
    ) -> dict[str, Any]:
        best = {ALONE: 0.0, TOGETHER: 0.0, BESIDE_LOOPS: 0.0}
        for _ in range(self.repeats):
            for situation, runs, loops in ((ALONE, 1, 0), (TOGETHER, 2, 0), (BESIDE_LOOPS, 1, 2)):
                slowest = min(self._rates(variables, overrides, batch_size, runs, loops))
                best[situation] = max(best[situation], slowest)
        shares = {f"share {name}": best[name] / best[ALONE] for name in (TOGETHER, BESIDE_LOOPS)}
        return {"threads spin": spinning} | best | shares

    def _rates(
        self, variables: Mapping[str, str], overrides: Sequence[str], batch_size: int, runs: int, loops: int
    ) -> list[float]:
        """Images a second of each of the runs, counted while all of them train."""
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            folders = [Path(folder) / str(number) for number in range(runs)]
            logs = [Path(folder) / f"{number}.log" for number in range(runs)]
            processes = []
            for run, log in zip(folders, logs, strict=True):
                command = ["-m", "aaa.train", *overrides, *QUIET, *ENDLESS, f"hydra.run.dir={run}"]
                processes.append(stack.enter_context(_running(command, variables, log)))
            _wait_until_they_train(folders, processes, logs)
            for _ in range(loops):
                stack.enter_context(_running(["-c", "while True: pass"], {}, Path(os.devnull)))
            began, before = time.monotonic(), [_steps_of(run) for run in folders]
            time.sleep(self.seconds)
            taken, after = time.monotonic() - began, [_steps_of(run) for run in folders]
        return [batch_size * (last - first) / taken for first, last in zip(before, after, strict=True)]


def _steps_of(run: Path) -> int:
    """How many steps a run has logged."""
    return max((row["step"] for row in read_metrics(run / METRICS)), default=0)


@contextmanager
def _running(arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that lives as long as the block, and what it prints in a file."""
    inherited = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    environment = inherited | {"WANDB_MODE": "disabled"} | dict(variables)
    with log.open("wb") as printed:
        process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=printed, stderr=printed)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_until_they_train(
    runs: Sequence[Path], processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while min(map(_steps_of, runs)) < WARM_UP_STEPS:
        for process, log in zip(processes, logs, strict=True):
            if (code := process.poll()) is not None:
                printed = log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
                raise UserError(f"bench=sharing: a run ended with exit code {code} instead of training:\n{printed}")
        if time.monotonic() > deadline:
            raise UserError(f"bench=sharing: a run took no {WARM_UP_STEPS} steps within {PATIENCE_SECONDS} s.")
        time.sleep(POLL_SECONDS)
