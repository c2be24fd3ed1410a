"""What lies in a data folder: its files by their names, links followed, what is hidden passed over."""

import os
from pathlib import Path

from aaa.data.endings import is_hidden, shown
from aaa.data.left_out import LeftOut
from aaa.errors import UserError, reason

POINTERS = {
    b"version https://git-lfs.github.com/": "a Git LFS pointer instead of the file; git lfs pull fetches it",
    b"/annex/objects/": "a git-annex pointer instead of the file; git annex get fetches it",
}


def require_place(path: str, key: str) -> None:
    """Refuse an empty path, which would be the working folder: a shell makes it of a variable that is not set.

    Args:
        path: as the config has it.
        key: of the config, for the message.

    Raises:
        UserError: if it is empty.
    """
    if not path.strip():
        raise UserError(f"{key}= is empty (a variable that is not set?). Give the folder of your data: {key}=PATH.")


def data_folder(path: str | Path) -> Path:
    """The folder to look through: of what the Hugging Face Hub keeps of a repository, its current snapshot.

    Raises:
        UserError: if several snapshots are there, and none is the current one.
    """
    root = Path(path)
    if not ((root / "snapshots").is_dir() and (root / "blobs").is_dir()):
        return root
    snapshots = sorted(folder for folder in (root / "snapshots").iterdir() if folder.is_dir())
    main = root / "refs" / "main"
    current = root / "snapshots" / main.read_text(encoding="utf-8").strip() if main.is_file() else None
    if current in snapshots:
        return current
    if len(snapshots) != 1:
        names = ", ".join(folder.name for folder in snapshots) or "none"
        raise UserError(f"{root}: give one of its snapshots ({names}) as the folder, not what the Hub keeps them in.")
    return snapshots[0]


def files_below(root: Path, left_out: LeftOut) -> list[str]:
    """Names of all files below a folder, relative to it and with `/`, in the order of their parts.

    Links are followed, as whoever laid them wanted. What is no folder counts as a file: a link to nothing too, which
    whoever reads it names. A folder that is reached a second time, through a link, is counted and not read again, so
    that circles end.

    Args:
        root: the folder.
        left_out: counts what is hidden, what cannot be opened, and links to a folder that was read already.
    """
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # a folder itself comes before links to it
        try:
            status = (root / folder).stat()
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            left_out.add(f"folders that cannot be opened ({reason(error)})", folder)
            continue
        if (status.st_dev, status.st_ino) in seen:
            left_out.add("links to folders that are read already", folder)
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if is_hidden(entry.name):
                left_out.add_no_data("hidden, or left by a system", name)
            elif not _is_folder(entry):
                files.append(name)
            elif entry.is_symlink():
                links.append(name)
            else:
                folders.append(name)
    return sorted(files, key=lambda name: name.split("/"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def why_unreadable(path: Path) -> str | None:
    """What is wrong with a file before anybody has read it, or None: a link to nothing, a pointer, no file at all."""
    try:
        if not path.is_file():
            return _no_file(path)
        with path.open("rb") as content:
            return pointer_to(content.read(64))
    except (OSError, ValueError, RuntimeError) as error:  # longer than the file system allows, a NUL, a loop of links
        return f"cannot be read ({reason(error)})"


def pointer_to(content: bytes) -> str | None:
    """What a file is, if by its first bytes it only points to what should be there."""
    return next((f"is {what}" for start, what in POINTERS.items() if content.startswith(start)), None)


def _no_file(path: Path) -> str:
    if path.is_dir():
        return "is a folder, not a file"
    if not path.is_symlink():
        return "is a pipe or a device, not a file" if path.exists() else "does not exist"
    target = str(path.readlink())
    if path.exists():
        return f"is a link to {shown(target)!r}, which is no file"
    fetch = "git annex get" if "annex/objects" in target else "dvc pull" if "dvc/" in target else ""
    hint = f"; {fetch} fetches it" if fetch else " (a copy without what it links to, or a download that is not whole?)"
    return f"is a link to {shown(target)!r}, which is not there{hint}"
