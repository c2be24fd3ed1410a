"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Running(Protocol):
    """A command that may end."""

    @property
    def err(self) -> Path:
        """What it says."""

    def has_ended(self) -> bool:
        """Whether it runs no more."""


def wait_until(true: Callable[[], object], *running: Running, seconds: float = 300) -> None:
    """Return once it is true.

    Args:
        true: looked at again and again.
        running: commands that are to bring it about, and not to end before.
        seconds: after which it is no longer waited for.

    Raises:
        AssertionError: with what the commands have said.
    """
    deadline = time.monotonic() + seconds
    while not true():
        ended = [command.err.read_text() for command in running if command.has_ended()]
        assert not ended, ended
        assert time.monotonic() < deadline, [command.err.read_text() for command in running]
        time.sleep(0.01)
