"""Some of what Windows refuses, refused on Linux: `python -m tests.helpers.like_windows aaa.train ...`

No file or folder is renamed, replaced or deleted while this process has it open or mapped; nothing that is there is
renamed over; folders cannot be opened, and only what is open to be written is flushed; names lack some letters; links
need rights. Only our own calls are held to it, and those that Python's library makes for us: packages have code for
Windows of their own. `sys.platform` is `win32` to our modules alone. What Windows lacks altogether mypy finds
(`--platform win32`).
"""

import builtins
import io
import os
import runpy
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

PACKAGE = str(Path(__file__).parents[2] / "aaa") + os.sep
FORBIDDEN = frozenset('<>:"|?*') | frozenset(map(chr, range(32)))
DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"})
WRITES = frozenset("wax+")
READ_ONLY = 0  # of the two lowest bits of a descriptor's flags

_open, _os_open, _import, _fsync = builtins.open, os.open, builtins.__import__, os.fsync


class OfWindows:
    """`sys`, but for its platform."""

    platform = "win32"

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(sys, name, value)


OF_WINDOWS = OfWindows()


def is_ours() -> bool:
    """Whether a module of ours called, be it through Python's library, and no package."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and "site-packages" not in frame.f_code.co_filename:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return True
        frame = frame.f_back
    return False


def held(path: Any) -> list[str]:
    """What this process has open or mapped of a file, or in a folder."""
    whole = os.path.realpath(path)
    mapped = [line[73:].rstrip("\n") for line in _open("/proc/self/maps", encoding="utf-8")]
    opened = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()]
    return [name for name in (*mapped, *opened) if name == whole or name.startswith(whole + os.sep)]


def impossible(path: Any) -> bool:
    """Whether there can be no such name."""
    parts = [part for part in Path(os.fspath(path)).parts if part not in (os.sep, "..")]
    return any(
        part[-1] in ". " or part.split(".")[0].upper() in DEVICES or not FORBIDDEN.isdisjoint(part) for part in parts
    )


def refuse(path: object, why: object) -> NoReturn:
    """As Windows does."""
    raise PermissionError(13, f"refused by Windows: {why}", str(path))


def open_(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
    """In place of `open`."""
    if not isinstance(file, int) and not WRITES.isdisjoint(mode) and is_ours():
        if impossible(file):
            refuse(file, "no such name")
        if "w" in mode and os.path.realpath(file) in _open("/proc/self/maps", encoding="utf-8").read():
            refuse(file, "mapped")
    return _open(file, mode, *arguments, **named)


def os_open(path: Any, *arguments: Any, **named: Any) -> int:
    """In place of `os.open`."""
    if is_ours() and Path(path).is_dir():
        refuse(path, "a folder")
    return _os_open(path, *arguments, **named)


def fsync(file: int) -> None:
    """In place of `os.fsync`."""
    facts = dict(line.split(":\t") for line in _open(f"/proc/self/fdinfo/{file}", encoding="utf-8") if ":\t" in line)
    if int(facts["flags"], 8) & 3 == READ_ONLY and is_ours():
        refuse(Path(f"/proc/self/fd/{file}").readlink(), "open to be read")
    _fsync(file)


def moved(move: Callable[..., None], *, replaces: bool) -> Callable[..., None]:
    """In place of `os.rename` and `os.replace`."""

    def checked(source: Any, target: Any, **named: Any) -> None:
        if is_ours():
            there = os.path.lexists(target)
            if there and (not replaces or Path(target).is_dir()):
                refuse(target, "is there")
            if impossible(target):
                refuse(target, "no such name")
            if holders := [*held(source), *(held(target) if there else [])]:
                refuse(source, holders)
        move(source, target, **named)

    return checked


def removed(remove: Callable[..., None]) -> Callable[..., None]:
    """In place of `os.unlink` and `os.remove`."""

    def checked(path: Any, **named: Any) -> None:
        if is_ours() and (holders := held(path)):
            refuse(path, holders)
        remove(path, **named)

    return checked


def made(make: Callable[..., None]) -> Callable[..., None]:
    """In place of `os.mkdir` and `os.symlink`, whose last path is new."""

    link = make is os.symlink

    def checked(*paths: Any, **named: Any) -> None:
        if is_ours() and (link or impossible(paths[0])):
            refuse(paths[-1], "cannot be made")
        make(*paths, **named)

    return checked


def import_(name: str, names: Mapping[str, object] | None = None, *arguments: Any, **named: Any) -> Any:
    """In place of `__import__`."""
    importer = str((names or {}).get("__package__"))
    return OF_WINDOWS if name == "sys" and is_package(importer) else _import(name, names, *arguments, **named)


def is_package(name: str) -> bool:
    """Whether it is ours, or in it."""
    return name.partition(".")[0] == "aaa"


def pretend() -> None:
    """From now on this process is like one on Windows."""
    for module in [module for name, module in sys.modules.items() if is_package(name)]:
        if vars(module).get("sys") is sys:
            vars(module)["sys"] = OF_WINDOWS
    rename, replace, unlink, mkdir, symlink = os.rename, os.replace, os.unlink, os.mkdir, os.symlink
    patches: dict[ModuleType, dict[str, Any]] = {
        signal: {"SIGBREAK": signal.SIGALRM},
        tempfile: {"TemporaryFile": tempfile.NamedTemporaryFile},
        shutil: {"_use_fd_functions": False},
        builtins: {"open": open_, "__import__": import_},
        io: {"open": open_},
        os: {
            "open": os_open,
            "fsync": fsync,
            "rename": moved(rename, replaces=False),
            "replace": moved(replace, replaces=True),
            "unlink": removed(unlink),
            "remove": removed(unlink),
            "mkdir": made(mkdir),
            "symlink": made(symlink),
        },
    }
    for owner, functions in patches.items():
        for name, function in functions.items():
            setattr(owner, name, function)


if __name__ == "__main__":
    pretend()
    sys.argv = sys.argv[1:]
    sys.modules.pop(sys.argv[0], None)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
