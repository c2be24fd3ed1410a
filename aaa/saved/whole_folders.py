"""Folders that are there whole or not at all, whatever kills the process that writes or deletes them."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from aaa.tracking.files import GO_ON, cannot_write, rename_folder

REMOVED = ".removed-"  # how the name of a folder begins until it is deleted


@contextmanager
def written_whole(folder: Path, advice: str = GO_ON, *, parents: bool = False) -> Iterator[Path]:
    """A folder to write aside in the block, which then takes its place; nothing is left of it where that fails.

    Args:
        folder: where it is to be.
        advice: for whoever has to see to it that it can be written.
        parents: whether the folder that it is to be in is made too.

    Raises:
        UserError: if it cannot be written. What was there before is untouched.
    """
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=parents)
        yield aside
        take_place(aside, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise cannot_write(folder, error, advice) from error


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
