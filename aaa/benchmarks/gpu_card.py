"""The rows of a benchmark that may be stopped or go wrong anywhere: each is on disk before the next is measured."""

import gc
import logging
import signal
import sys
import time
import traceback
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import Any

import torch
from accelerate.state import AcceleratorState
from rich.table import Table

from aaa.benchmarks.report import Report
from aaa.devices import describe_device
from aaa.tracking.environment import describe_environment

logger = logging.getLogger(__name__)

Row = dict[str, Any]
FAILED, TRACEBACK = "failed: ", "traceback"
RECORDED = ", recorded"  # ends what is said of how steps were compiled
AGAIN_SECONDS = 5.0
PLOT = ("what", "images/s")
COLUMNS = ("part", "what", "batch", "compiled", *PLOT[1:], "step ms", "MFU", "idle", "peak GiB")


class OutOfTime(BaseException):
    """The time is up. Like KeyboardInterrupt no Exception, so that no library takes it for an error of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """A block that OutOfTime ends after so many seconds, wherever it is; in the main thread."""

    def end(_signum: int, _frame: FrameType | None) -> None:
        raise OutOfTime

    handler = signal.signal(ALARM, end)
    try:
        with _alarms(seconds):
            yield
    finally:
        signal.signal(ALARM, handler)


# Again and again: what is raised where Python cannot pass it on, such as in a finalizer, is lost.
if sys.platform == "win32":
    ALARM = signal.SIGBREAK

    @contextmanager
    def _alarms(seconds: float) -> Iterator[None]:
        """A SIGBREAK after so many seconds and every few from then on, as Windows has no alarms."""
        over = Event()

        def ring() -> None:
            wait = seconds
            while not over.wait(wait):
                interrupt_main(ALARM)
                wait = AGAIN_SECONDS

        Thread(target=ring, daemon=True).start()
        try:
            yield
        finally:
            over.set()

else:
    ALARM = signal.SIGALRM

    @contextmanager
    def _alarms(seconds: float) -> Iterator[None]:
        """A SIGALRM after so many seconds and every few from then on; an alarm that was set before comes after it."""
        began = time.monotonic()
        left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)) if left else 0, interval)


class Card:
    """Rows, written to `results.json` after each one.

    Args:
        folder: of the benchmark.
        title: of what is measured.
        device: that it is measured on.

    Attributes:
        rows: so far.
    """

    def __init__(self, folder: Path, title: str, device: torch.device) -> None:
        self.folder, self.title, self.rows = folder, title, list[Row]()
        self._environment = describe_environment(describe_device(device))

    def measure(self, part: str, what: str, action: Callable[[], Row | list[Row]]) -> None:
        """Take in what this returns; what it raises becomes a row that says so, and the next one has its turn."""
        try:
            found = action()
        except Exception as error:
            found = _failure(error)
        finally:
            clean_up()
        for row in found if isinstance(found, list) else [found]:
            self.rows.append({"part": part, "what": what} | row)
            logger.info("%s", _said(self.rows[-1]))
        self.report([]).write_results(self.folder, self._environment)

    def report(self, notes: list[str]) -> Report:
        """What there is by now."""
        return CardReport(self.title, self.rows or [{"part": "-", "what": "nothing was measured"}], PLOT, notes)


class CardReport(Report):
    """Rows of many kinds: what steps have in common has columns of its own in the terminal, all else a sentence."""

    def table(self, width: int | None = None) -> Table:
        """The rows for the terminal."""
        shown = [
            {key: row[key] for key in COLUMNS if key in row}
            | {"besides": _said({key: value for key, value in row.items() if key not in COLUMNS})}
            for row in self.rows
        ]
        return Report(self.title, shown, self.plot, self.notes, (*COLUMNS, "besides")).table(width)


def clean_up() -> None:
    """Give back what a measurement held, whether it came to its end or not."""
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _failure(error: Exception) -> Row:
    if isinstance(error, torch.OutOfMemoryError):
        return {"note": "does not fit"}
    first = (str(error).splitlines() or [""])[0]
    trace = "".join(traceback.format_exception(error))
    return {"note": f"{FAILED}{type(error).__name__}: {first}", TRACEBACK: trace}


def _said(row: Row) -> str:
    figures = {key: f"{value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()}
    return ", ".join(f"{key} {figure}" for key, figure in figures.items() if key != TRACEBACK)
