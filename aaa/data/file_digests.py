"""SHA-256 of the files that data is in, remembered from one run to the next."""

import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from aaa.data.file_hash import sha256_of
from aaa.data.in_order import in_order
from aaa.errors import UserError
from aaa.tracking.console import display
from aaa.tracking.files import replace_text

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

SETTLED_NS = 2 * 10**9  # after this a change shows in a file's times, whatever the file system's clock
ATTEMPTS = 3
MISSING = "missing"  # in place of the digest of what is no file
AHEAD = 64  # files that are read before those before them are written down
SHOWN_FROM, UPDATE_EVERY = 1000, 100  # files
SPARE_LINES = 1000  # of the memory, that later ones have replaced


class FileDigests:
    """SHA-256 of files, remembered so that big files are read once.

    A file is taken for the same by path, size, inode and both its times: copying over it or moving another one into
    its place changes the inode or the time of change (ctime), even where size and time of modification are kept. Where
    a network file system gives a file another inode, it is read once more. What was changed within the last two
    seconds is not remembered for later processes, since another change may leave no trace.

    Args:
        memory: a JSON-lines file to remember them in; lines that are cut short or of another form are passed over.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._known: dict[str, tuple[list[int], str]] = {}
        self._first: dict[str, str] = {}
        self._recalled = 0  # bytes of the memory that are known
        if self._recall() > 2 * len(self._known) + SPARE_LINES:
            self._write_anew()

    def digest_all(self, paths: Sequence[Path]) -> list[str]:
        """What `digest` says of each. Files that are not known are read several at once, by one of several processes.

        The others, who share the memory, wait for it.
        """
        files = {str(path.absolute()): path for path in paths}
        found = {name: self._known_digest(path, name) for name, path in files.items()}
        if None in found.values():
            with self._alone():
                self._recall()  # what others have looked at meanwhile
                found |= {name: self._known_digest(files[name], name) for name in found if found[name] is None}
                unread = [name for name, digest in found.items() if digest is None]
                reading = in_order(_read_or_none, [files[name] for name in unread], AHEAD)
                for name, read in zip(unread, _shown(reading, len(unread)), strict=True):
                    found[name] = read and self._keep(name, *read)
        for name, digest in found.items():
            self._first.setdefault(name, digest or MISSING)
        return [found[str(path.absolute())] or MISSING for path in paths]

    def _known_digest(self, path: Path, name: str) -> str | None:
        """What is remembered of a file, MISSING if there is none; None of one that has to be read."""
        try:
            state = _state(path)
        except (OSError, ValueError):
            return MISSING
        known = self._known.get(name)
        return known[1] if known is not None and known[0] == state else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While others who share the memory wait; nobody does where it cannot be written."""
        with ExitStack() as held:
            with suppress(OSError):
                self.memory.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(f"{self.memory}.lock"))
            yield

    def _recall(self) -> int:
        """Take in what was remembered since this was asked last, and return how many lines that is."""
        lines = 0
        with suppress(OSError), self.memory.open("rb") as remembered:
            if remembered.seek(0, os.SEEK_END) < self._recalled:  # another process has written it anew
                self._recalled = 0
            remembered.seek(self._recalled)
            for line in remembered:
                lines += 1
                try:
                    path, *state, digest = json.loads(line)
                    self._known[path] = state, digest
                except (ValueError, TypeError):  # that file is simply read again
                    continue
            self._recalled = remembered.tell()
        return lines

    def _write_anew(self) -> None:
        """Without lines that later ones have replaced."""
        with self._alone():
            self._recall()
            lines = (json.dumps([name, *state, digest]) + "\n" for name, (state, digest) in self._known.items())
            with suppress(UserError):  # a cache that others may only read
                replace_text(self.memory, "".join(lines))

    def digest(self, path: Path) -> str:
        """Hex SHA-256 of the file's content; `MISSING` if there is no such file."""
        name = str(path.absolute())
        found = self._digest(path, name)
        self._first.setdefault(name, found)
        return found

    def same_digest(self, path: Path) -> str:
        """The digest of a file that must stay as it was when this object first looked at it.

        Raises:
            UserError: if it did not.
        """
        found = self.digest(path)
        if found != self._first[str(path.absolute())]:
            raise UserError(f"{path} was changed while the data was being read. Start again when it is whole")
        return found

    def _digest(self, path: Path, name: str) -> str:
        known = self._known_digest(path, name)
        if known is None and (read := _read_or_none(path)) is not None:
            known = self._keep(name, *read)
        return known or MISSING

    def _keep(self, name: str, digest: str, state: list[int] | None) -> str:
        """Remember what a file was read as, unless it was being written to."""
        if state is not None:
            self._remember(name, state, digest)
        return digest

    def _remember(self, name: str, state: list[int], digest: str) -> None:
        self._known[name] = state, digest
        *_, modified, changed = state
        if 0 <= time.time_ns() - max(modified, changed) < SETTLED_NS:
            return
        try:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            with self.memory.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([name, *state, digest]) + "\n")
        except OSError as error:  # a cache that others may only read
            logger.debug("%s cannot be written: %s", self.memory, error)


def _read_or_none(path: Path) -> tuple[str, list[int] | None] | None:
    """The digest of a file and its state, none if it is written to again and again meanwhile; None if it is no file."""
    try:
        state = _state(path)
        for _ in range(ATTEMPTS):
            digest = sha256_of(path)
            before, state = state, _state(path)
            if state == before:
                return digest, state
    except (OSError, ValueError):
        return None
    return digest, None


def _shown(results: Iterable[Result], total: int) -> Iterator[Result]:
    """The same, with a bar where there are many."""
    if total < SHOWN_FROM:
        yield from results
        return
    with display("Looking at files", total) as progress:
        for done, result in enumerate(results, start=1):
            yield result
            if done % UPDATE_EVERY == 0 or done == total:
                progress.update(done)


def _state(path: Path) -> list[int]:
    """What changes with a file's content: size, inode, times of modification and of change.

    Raises:
        OSError: if it is no file, or a device or a pipe, which may never end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a file")
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
