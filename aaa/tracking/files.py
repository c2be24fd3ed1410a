"""Writing small files so that a process that dies, or a disk that is full, leaves the old one or the new one."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aaa.errors import UserError, reason

# What to do where a run cannot write.
GO_ON = (
    "Earlier checkpoints are untouched: make room there, or see to the permissions of the folder, and go on with "
    "resume=RUN_FOLDER."
)
RENAME_TRIES, RENAME_SECONDS = 10, 0.1
OF_A_STEP = "step-" + 8 * "[0-9]"  # how the names of a run's files of a step begin, as a pattern of glob


def step_in_name(path: Path) -> int:
    """The step of a file that `OF_A_STEP` is the beginning of."""
    return int(path.name.removeprefix("step-")[:8])


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A block that writes a file under the name that it is given; the file is renamed into place at its end.

    Of several processes that do so at once the last one's stays, whole; where the block fails, what was there before.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        aside.replace(path)
    finally:
        with suppress(OSError):  # it has been renamed, or could not be made
            aside.unlink()


def replace_text(path: Path, text: str, advice: str = GO_ON) -> None:
    """Write a file aside and rename it into place, its content on the disk first.

    Args:
        path: of the file.
        text: its new content.
        advice: what to do where it cannot be written.

    Raises:
        UserError: if it cannot be written; what was there before stays.
    """
    try:
        with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error, advice) from None


def rename_folder(folder: Path, name: Path) -> None:
    """Give a folder another name.

    Windows refuses that while anything has a file of it open, such as a virus scanner, or a mapping that is about to
    end: there it is tried again for a second.

    Raises:
        OSError: if it cannot be.
    """
    for _ in range(RENAME_TRIES if sys.platform == "win32" else 0):
        try:
            folder.rename(name)
        except PermissionError:
            time.sleep(RENAME_SECONDS)
        else:
            return
    folder.rename(name)


def remove_aside(folder: Path) -> None:
    """Remove what processes that died had not renamed yet, from a folder in which nobody else writes now."""
    for path in folder.glob("*.tmp"):
        if re.fullmatch(r".+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, the whole line or nothing of it.

    Raises:
        UserError: if it cannot be written; the file is as it was.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
    except OSError as error:
        with suppress(OSError):  # it could not even be opened
            os.truncate(path, size)
        raise cannot_write(path, error) from None


def require_writable(folder: Path) -> None:
    """See that a folder, which need not be there yet, takes files, before a command works out what to write there.

    Raises:
        UserError: if it does not.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out={folder}: is a file. Give a folder: out=FOLDER")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            f"out={folder}: cannot be written in ({reason(error)}). Give another folder: out=FOLDER"
        ) from None


def kept_text(path: Path) -> str | None:
    """What a small file says, without white space around it; None if that is nothing, or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def cannot_write(path: Path, error: Exception, advice: str = GO_ON) -> UserError:
    """What to say of a file that the system will not have, and what to do."""
    return UserError(f"{path}: cannot be written ({reason(error)}). {advice}")
