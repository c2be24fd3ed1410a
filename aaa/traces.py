"""Whose code an error was raised in, and where."""

import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

OURS = Path(__file__).resolve().parent


def raised_at(error: BaseException, *, own: bool = False) -> str | None:
    """`FILE:LINE`, the innermost place that an error has passed in code which is neither ours nor installed.

    Args:
        error: with what it was caused by.
        own: whether nothing else will do; else it is the innermost in our code, where no other has a part in it.
    """
    frames = list(_frames(error))
    places = [frame for frame in frames if _is_own(frame.filename)]
    if not places and not own:
        places = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(OURS)]
    return f"{places[0].filename}:{places[0].lineno}" if places else None


def _frames(error: BaseException | None) -> Iterator[traceback.FrameSummary]:
    """Of an error's cause first, the innermost of each first."""
    if error is None:
        return
    yield from _frames(error.__cause__ or (None if error.__suppress_context__ else error.__context__))
    yield from reversed(traceback.extract_tb(error.__traceback__))


def _is_own(file: str) -> bool:
    path = Path(file).resolve()
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    return path.is_file() and not installed and not any(path.is_relative_to(place) for place in (OURS, *_installed()))


@cache
def _installed() -> list[Path]:
    """Folders of Python's own code and of packages."""
    return [Path(path).resolve() for path in set(sysconfig.get_paths().values())]
