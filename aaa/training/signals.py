"""Signals that ask a run to stop: it finishes its step, saves and goes; a second one ends the process at once."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

logger = logging.getLogger(__name__)

ALWAYS = (signal.SIGINT, signal.SIGTERM)

# What a cluster sends before it takes the machine away: who installed a handler for it (aaa.cli.requeue, submitit) sees
# to it that the job is started again, once the run has saved.
HANDED_ON: frozenset[signal.Signals] = frozenset()
if sys.platform != "win32":
    HANDED_ON = frozenset({signal.SIGUSR1, signal.SIGUSR2})

ENOUGH = 10_000  # no signal: the run has asked itself to stop


def exit_code(signum: int | None) -> int:
    """Of a command whose run ended by this signal: 0 where somebody else sees to it that the run goes on."""
    return 0 if signum is None or signum in (ENOUGH, *HANDED_ON) else 128 + signum


def obey(signum: int | None) -> None:
    """Do what a signal asked for, now that the run is saved: end the process, or let its other handler answer."""
    if signum is None:
        return
    if signum in HANDED_ON:
        signal.raise_signal(signum)
    if signum != ENOUGH:
        sys.exit(exit_code(signum))


class Interrupted(BaseException):
    """A signal came while something was under way that can be left and done again later.

    Like KeyboardInterrupt it is no Exception, so that no library takes it for an error of its own.
    """


class StopSignals:
    """Collects the signals that ask to stop while it is entered.

    Args:
        interrupts: end what is `interruptible` at once; where processes must keep in step, none may.

    Attributes:
        received: the first of them, or `ENOUGH`, or None.
    """

    def __init__(self, *, interrupts: bool = True) -> None:
        self.interrupts = interrupts
        self.received: int | None = None
        self._interruptible = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        handled = [number for number in HANDED_ON if callable(signal.getsignal(number))]
        self._previous = {number: signal.signal(number, self._note) for number in (*ALWAYS, *handled)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal may end at once, by Interrupted, instead of being waited for."""
        if self.received is not None and self.interrupts:
            raise Interrupted
        self._interruptible = self.interrupts
        try:
            yield
        finally:
            self._interruptible = False

    def stop(self) -> None:
        """Stop as if a signal had come."""
        self.received = self.received or ENOUGH

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        if self.received not in (None, ENOUGH):
            # Not by an exception: whatever is being closed or written down could hold that up for minutes.
            logging.shutdown()
            os._exit(128 + signum)
        self.received = signum
        logger.warning("%s: finishing this step and saving. Once more ends at once.", signal.Signals(signum).name)
        if self._interruptible:
            self._interruptible = False
            raise Interrupted
