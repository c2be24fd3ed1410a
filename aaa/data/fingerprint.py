"""What shaped a latent cache, as a hash: change any of it and there is another cache.

What that is, is listed in assembly/data.py; here is how each is hashed.
"""

import hashlib
import importlib
import inspect
import json
import logging
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aaa.data.file_hash import sha256_of
from aaa.data.records import Source
from aaa.errors import UserError

logger = logging.getLogger(__name__)


SETTLED_NS = 2 * 10**9  # after this a change shows in a file's times, whatever the file system's clock
ATTEMPTS = 3


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
        if memory.is_file():
            for line in memory.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    path, *state, digest = json.loads(line)
                    self._known[path] = state, digest
                except (ValueError, TypeError):  # that file is simply read again
                    continue

    def digest(self, path: Path) -> str:
        """Hex SHA-256 of the file's content; `missing` if there is no such file."""
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
        try:
            state = _state(path)
            if (known := self._known.get(name)) is not None and known[0] == state:
                return known[1]
            for _ in range(ATTEMPTS):
                digest = sha256_of(path)
                before, state = state, _state(path)
                if state == before:  # else it was written to meanwhile
                    self._remember(name, state, digest)
                    break
        except (OSError, ValueError):
            return "missing"
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


def _state(path: Path) -> list[int]:
    """What changes with a file's content: size, inode, times of modification and of change.

    Raises:
        OSError: if it is no file, or a device or a pipe, which may never end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a file")
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hex SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def records_fingerprint(source: Source, digests: FileDigests) -> str:
    """Hash of every record's key, split, prompts and file content, and of files that records share."""
    total = hashlib.sha256()
    for path in getattr(source, "files", ()):
        total.update(digests.digest(path).encode())
    for index in range(len(source)):
        record = source[index]
        content = digests.digest(record.path) if record.path else ""
        prompts = record.prompt if record.prompts is None else list(record.prompts.items())
        total.update(json.dumps([record.key, record.split, prompts, content]).encode())
    return total.hexdigest()


def code_fingerprint(targets: Iterable[str]) -> str:
    """Hash of the modules that define these classes (dotted names), so that a change of code is seen.

    Modules of the same package that they take something from count too, and those that these take something from.
    """
    total = hashlib.sha256()
    for target in targets:
        module = importlib.import_module(target.rpartition(".")[0])
        package = module.__name__.rpartition(".")[0]
        names: set[str] = set()
        waiting = [module.__name__]
        while waiting:
            name = waiting.pop()
            names.add(name)
            used = {getattr(value, "__module__", None) or "" for value in vars(importlib.import_module(name)).values()}
            waiting += [other for other in used - names if package and other.startswith(f"{package}.")]
        for name in sorted(names):
            total.update(Path(inspect.getfile(importlib.import_module(name))).read_bytes())
    return total.hexdigest()
