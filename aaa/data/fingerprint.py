"""What shaped a latent cache, as a hash: change any of it and there is another cache."""

import hashlib
import importlib
import inspect
import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aaa.data.records import Source


class FileDigests:
    """SHA-256 of files, remembered by path, size and time of change so that big files are read once.

    Args:
        memory: a JSON-lines file to remember them in.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._known: dict[str, list[Any]] = {}
        if memory.is_file():
            for line in memory.read_text(encoding="utf-8").splitlines():
                try:
                    path, *entry = json.loads(line)
                except ValueError:  # a line cut short by a crash: that file is simply read again
                    continue
                self._known[path] = entry

    def digest(self, path: Path) -> str:
        """Hex SHA-256 of the file's content; `missing` if there is no such file."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return "missing"
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe may never end
            return "missing"
        state = [status.st_size, status.st_mtime_ns]
        name = str(path.absolute())
        if (known := self._known.get(name)) and known[:2] == state:
            return known[2]
        try:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError:
            return "missing"
        self._known[name] = [*state, digest]
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        with self.memory.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([name, *state, digest]) + "\n")
        return digest


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

    Modules of the same package that they take something from count too.
    """
    total = hashlib.sha256()
    for target in targets:
        module = importlib.import_module(target.rpartition(".")[0])
        package = module.__name__.rpartition(".")[0]
        used = {getattr(value, "__module__", None) or "" for value in vars(module).values()}
        names = {module.__name__, *(name for name in used if package and name.startswith(f"{package}."))}
        for name in sorted(names):
            total.update(Path(inspect.getfile(importlib.import_module(name))).read_bytes())
    return total.hexdigest()
