"""Folders that are there whole or not at all, whatever kills the process that writes or deletes them."""

import os
import shutil
import sys
from pathlib import Path

from aaa.tracking.files import rename_folder

REMOVED = ".removed-"  # how the name of a folder begins until it is deleted


def take_place(aside: Path, final: Path) -> None:
    """Give a folder that was written aside its name. What had that name goes only once the new one is on disk.

    Args:
        aside: whole, on the same disk.
        final: its name from now on.

    Raises:
        OSError: if the disk is full or refuses it.
    """
    _flush(aside)
    removed = _out_of_the_way(final)
    rename_folder(aside, final)
    _flush(final.parent, within=False)
    shutil.rmtree(removed, ignore_errors=True)


def remove_whole(folder: Path) -> None:
    """Delete a folder, so that no half of it is left under its name; nothing where there is none.

    Raises:
        OSError: if some of it cannot be deleted.
    """
    if folder.is_dir():
        shutil.rmtree(_out_of_the_way(folder))


def _out_of_the_way(folder: Path) -> Path:
    """Take a folder, if it is there, its name, and return the one that it has until it is deleted."""
    removed = folder.with_name(f"{REMOVED}{folder.name}")
    if folder.is_dir():
        shutil.rmtree(removed, ignore_errors=True)
        rename_folder(folder, removed)
    return removed


def _flush(folder: Path, *, within: bool = True) -> None:
    """Have a folder on disk, so that what is renamed after it is whole even where the power fails.

    Args:
        folder: whose entries are flushed.
        within: whether all that lies in it is flushed too.
    """
    for path in [*(folder.rglob("*") if within else ()), folder]:
        if sys.platform == "win32" and path.is_dir():  # cannot be opened there
            continue
        descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
