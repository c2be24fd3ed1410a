"""What the terminal shows is what was said."""

import io
import logging
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from aaa.tracking.console import ConsoleHandler, Times, WholeFigures, display, for_tables
from aaa.tracking.durations import duration

SAID = "resume=outputs/:heart:/1 and [bold]"


def test_names_with_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleHandler().emit(logging.LogRecord("aaa", logging.INFO, "x.py", 1, SAID, None, None))
    assert capsys.readouterr().err == f"{SAID}\n"
    for_tables(sys.stdout).print("of :heart:")
    assert capsys.readouterr().out == "of :heart:\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (172799, "47 h 59 min"), (3459600, "40 d 01 h")],
)
def test_durations_are_said_in_units_of_their_size(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_line_of_progress_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 185.0])
    monkeypatch.setattr("aaa.tracking.console.time.monotonic", lambda: next(clock, 185.0))
    with caplog.at_level(logging.INFO), display("Training", total=20) as shown:
        shown.update(10, loss=0.5)
    assert caplog.messages == ["Training 10/20  loss 0.5  left 3 min 05 s"]


def test_a_bar_says_what_is_left_as_lines_do() -> None:
    clock = iter([0.0])
    with Progress(Times(), get_time=lambda: next(clock, 185.0), console=Console(file=io.StringIO())) as progress:
        task = progress.add_task("", total=20)
        assert Times().render(progress.tasks[task]).plain == "3 min 05 s"


@pytest.mark.parametrize("width", [12, 30, 44, 200])
def test_figures_beside_a_bar_are_whole_or_not_there(width: int) -> None:
    figures = ["loss 3.345", "images/s 471.2", "velocity 1.234"]
    console = Console(file=(out := io.StringIO()), width=width)
    console.print(WholeFigures(figures))
    shown = out.getvalue().strip().split("  ")
    assert shown == figures[: len(shown)]
    assert len("  ".join(shown)) <= width
    left_out = figures[len(shown) :]
    assert not left_out or len("  ".join([*shown, left_out[0]])) > width


def test_prose_is_broken_between_words_and_what_is_copied_only_by_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Console(file=(out := io.StringIO()), force_terminal=True, width=20, color_system=None)
    monkeypatch.setattr("aaa.tracking.console.console", terminal)
    copied = "Done: outputs/with a blank/1\n  sample:  python -m aaa.sample model=outputs/1"
    long = "x" * 30
    synced = "To upload the run later: wandb sync wandb/offline-run-1 wandb/offline-run-2"
    for said in (f"300 records to train on {long}", copied, synced):
        ConsoleHandler().emit(logging.LogRecord("aaa", logging.INFO, "x.py", 1, said, None, None))
    assert out.getvalue() == f"300 records to train\non\n{long}\n{copied}\n{synced}\n"


def test_a_terminal_of_no_width_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=0, color_system=None)
    monkeypatch.setattr("aaa.tracking.console.console", terminal)
    ConsoleHandler().emit(logging.LogRecord("aaa", logging.INFO, "x.py", 1, "300 records", None, None))  # no error
