"""The end of a command that succeeded, without the second that Python takes to put torch away."""

import atexit
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
WITH_VALUE = ("-X", "-W")  # options of the interpreter that a value may follow as a word of its own


def end_at_once() -> None:
    """End the process with 0 if it is a command and nothing else; return in a program that calls one.

    What a process does at its end is done: other threads are waited for, what is registered with `atexit` is called,
    streams are flushed. But memory is left to the system, which frees it in no time, where Python takes all modules
    apart, object by object. mypy ends so too.
    """
    if not is_command(sys.orig_argv):
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def is_command(arguments: Iterable[str]) -> bool:
    """Whether this is the command line of one of our commands: not of a profiler or debugger that runs one."""
    words = iter([*arguments][1:])
    for word in words:
        if word == "-m":
            return next(words, "").startswith(f"{PACKAGE}.")
        if not word.startswith("-"):
            return Path(word).name.startswith(f"{PACKAGE}-")
        if word in WITH_VALUE:
            next(words, None)
    return False
