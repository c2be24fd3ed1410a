"""Our own commands as measured: run in a process of their own, with the time and the memory they took."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from hydra.core.hydra_config import HydraConfig

from aaa.errors import UserError

# Of a run that is measured: nothing but training, unless it is evaluated.
QUIET = ("logger=none", "trainer.validate_every_steps=0", "trainer.sample_every_steps=0", "trainer.save_every_steps=0")


@dataclass(frozen=True)
class Measured:
    """A finished process.

    Attributes:
        seconds: from its start to its end.
        peak_gib: the most memory it held.
        output: what it wrote to the terminal.
    """

    seconds: float
    peak_gib: float
    output: str


def typed() -> list[str]:
    """What the benchmark was told of the run that it measures."""
    return [text for text in HydraConfig.get().overrides.task if not text.startswith("bench")]


def in_folder(folder: Path) -> list[str]:
    """What a training command is told so that its runs and its cache lie in a folder, wherever it is called."""
    run = f"hydra.run.dir={folder}/outputs/${{name}}/${{now:%Y-%m-%d_%H-%M-%S_%f}}"
    return [run, f"data.cache_dir={folder}/.cache"]


def measure(folder: Path, *arguments: str) -> Measured:
    """Run `python ...`, from here, so that paths mean what they mean to who typed them.

    Args:
        folder: of what it prints.
        arguments: of the interpreter.

    Raises:
        UserError: with what it said, if it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.txt"
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"WANDB_MODE": "disabled"},
        )
        status, peak_gib = _wait(process)
    taken = time.monotonic() - began
    text = log.read_text(encoding="utf-8")
    if status:
        raise UserError(f"python {' '.join(arguments)} failed:\n{text}")
    return Measured(taken, peak_gib, text)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """How a process ended, 0 if well, and the most memory that it held, in GiB."""
    if sys.platform == "win32":  # which forgets what a process held when that ends
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                peak = watched.memory_info().peak_wset
            time.sleep(0.05)
        return process.returncode, peak / 2**30
    _, status, usage = os.wait4(process.pid, 0)
    return status, usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
