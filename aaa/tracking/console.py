"""What the terminal shows: messages, and a live line of progress while training."""

import logging
import os
import re
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from aaa.tracking.durations import duration
from aaa.tracking.printed import harmless
from aaa.tracking.redaction import redact

# Without rich's emoji: paths and commands may have `:heart:` in them.
console = Console(stderr=True, highlight=False, emoji=False)
logger = logging.getLogger(__name__)

WIDE = 10_000  # letters of a line of a table that goes to a file, where rich would take 80 and break every cell
BAR = 20  # letters of a bar: what was measured says more
# A line with a command, or that ends in a path, is broken by the terminal alone, so that it can be copied whole.
COPIED = re.compile(r"python -m |wandb sync |: \S*[/\\]")
NARROW = 20  # letters of a line at least, whatever COLUMNS says
PLAIN_INTERVAL_SECONDS = 10.0  # between lines of progress where there is no terminal to draw on


def for_tables(file: TextIO) -> Console:
    """What prints tables: as wide as the terminal, or as they need to be where there is none."""
    return Console(file=file, emoji=False, width=None if file.isatty() or "COLUMNS" in os.environ else WIDE)


class ConsoleHandler(logging.Handler):
    """Prints messages above the progress display; warnings and errors say that they are."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        message = harmless(redact(self.format(record)))
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {message}"
        style = "red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else ""
        if console.is_terminal:
            message = "\n".join(line if COPIED.search(line) else _between_words(line) for line in message.split("\n"))
        console.print(message, style=style, markup=False, soft_wrap=True)


def _between_words(line: str) -> str:
    """A line over as many as the terminal has room for; a path is a word."""
    return textwrap.fill(line, max(console.width, NARROW), break_long_words=False, break_on_hyphens=False)


class WholeFigures:
    """Names with their numbers in one line: those that there is room for, the first ones first.

    Args:
        figures: `loss 0.5`, the most important first.
    """

    def __init__(self, figures: Sequence[str]) -> None:
        self.figures = figures

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """As many of them as are whole in this width."""
        shown = ""
        for figure in self.figures:
            longer = f"{shown}  {figure}" if shown else figure
            if cell_len(longer) > options.max_width:
                break
            shown = longer
        yield Text(shown, no_wrap=True)

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        """From nothing to all of them."""
        return Measurement(0, min(cell_len("  ".join(self.figures)), options.max_width))


class Figures(ProgressColumn):
    """What was measured, as much of it as there is room for in one line."""

    def render(self, task: Task) -> WholeFigures:
        """What a bar shows of it."""
        return WholeFigures(task.fields["figures"])


class Times(ProgressColumn):
    """The time taken and the time left, once it can be told."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """What a bar shows of it."""
        left = "" if task.time_remaining is None else f"  left {duration(task.time_remaining)}"
        return Text(f"{duration(task.elapsed or 0)}{left}")


class Display:
    """A bar with a count, a few figures, the time taken and the time left."""

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        self.title, self.total, self.start = title, total, start
        self._began = self._last_line = time.monotonic()
        self._figures: list[str] = []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(BAR, table_column=Column(no_wrap=True)),
            TextColumn("{task.completed}/{task.total}"),
            Figures(),
            Times(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, completed=start, figures=[])

    def update(self, completed: int, **figures: float | str) -> None:
        """Move the bar to `completed` and, if any are given, show new figures beside it."""
        if figures:
            self._figures = [f"{name} {_short(value)}" for name, value in figures.items()]
        self._progress.update(self._task, completed=completed, figures=self._figures)
        now = time.monotonic()
        if not console.is_terminal and (now - self._last_line >= PLAIN_INTERVAL_SECONDS or completed == self.total):
            self._last_line = now
            done = max(completed - self.start, 1)
            left = (now - self._began) / done * (self.total - completed)
            shown = "  ".join(self._figures)
            logger.info("%s %d/%d  %s  left %s", self.title, completed, self.total, shown, duration(left))


@contextmanager
def display(title: str, total: int, start: int = 0) -> Iterator[Display]:
    """Show progress towards `total` while the block runs."""
    shown = Display(title, total, start)
    with shown._progress:
        yield shown


class LateDisplay:
    """Progress towards totals that are known with the first step towards each: pictures of a batch, files.

    Args:
        title: what is counted.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._stack = ExitStack()
        self._bar: Display | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show how many are done; the display ends with the last."""
        if self._bar is None:
            self._bar = self._stack.enter_context(display(self.title, total))
        self._bar.update(done)
        if done == total:
            self._stack.close()
            self._bar = None


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
