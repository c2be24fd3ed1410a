"""Commands in processes that are forked from one that has everything imported: for tests that start very many.

Each is a process of its own that can be killed; only the seconds that Python takes to import what it needs are saved.
"""

import multiprocessing
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
OURS = ["aaa.run.run", "aaa.run.recorder", "aaa.encode", "aaa.pipelines.text_to_image", "aaa.evaluation.shapes"]
# What a run imports on its way: an optimizer the compiler, Arrow's first array pandas, W&B's first run its launcher.
ON_THE_WAY = [
    "torch._dynamo",
    "pandas",
    "wandb.sdk.launch",
    "hydra.main",
    "hydra._internal.hydra",
    "PIL.PngImagePlugin",
]
_context.set_forkserver_preload([*OURS, *ON_THE_WAY])


@dataclass(frozen=True)
class Forked:
    """A command that runs, its output going to files."""

    process: BaseProcess
    out: Path
    err: Path

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return not self.process.is_alive()

    def wait(self, timeout: float) -> int:
        """The exit code: minus a signal's number where one ended it.

        Raises:
            TimeoutError: if it takes longer; it is killed then.
        """
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError(self.err.read_text())
        return self.process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()


def start(
    folder: Path, *arguments: str, disk_seconds: float = 0.0, environment: Mapping[str, str] | None = None
) -> Forked:
    """Start `python -m ARGUMENTS` in a folder, on a disk that takes so long to flush a file or rename one."""
    number = len(list(folder.glob(".out-*")))
    out, err = folder / f".out-{number}", folder / f".err-{number}"
    out.touch()
    process = _context.Process(target=_run, args=(folder, arguments, environment or {}, out, err, disk_seconds))
    process.start()
    return Forked(process, out, err)


def _run(
    folder: Path,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    out: Path,
    err: Path,
    disk_seconds: float,
) -> None:
    for name in ("fsync", "rename", "replace"):
        setattr(os, name, partial(_slowly, getattr(os, name), disk_seconds))
    os.chdir(folder)
    os.environ.update({"WANDB_MODE": "offline", "COLUMNS": "200"} | dict(environment))
    # An interpreter that starts anew would do this itself.
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = list(arguments)
    # This module of many was imported ahead; as a command it is to run once more.
    sys.modules.pop(arguments[0], None)
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        (folder / "peak_gib").write_text(str(peak))


def _slowly(function: Callable[..., Any], seconds: float, *arguments: Any, **named: Any) -> Any:
    time.sleep(seconds)
    return function(*arguments, **named)
