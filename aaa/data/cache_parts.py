"""Parts of a latent cache, each encoded by a process of its own and whole by itself, put together where they lie."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError

from aaa.data import cache_writer
from aaa.data.cache_folder import EMPTY_PROMPT, INDEX, open_folder, pooled_statistics
from aaa.data.cached_records import ArrowRecords
from aaa.data.file_hash import sha256_of
from aaa.data.picture_places import PLACES, SIDES, PlacedRecords
from aaa.errors import UserError
from aaa.tracking.files import rename_folder

PARTS = ".parts"  # ends the name of a folder of them


@dataclass(frozen=True)
class Part:
    """One of several parts of a cache.

    Attributes:
        number: from 0.
        count: how many there are.
        folder: that all of them lie in.
    """

    number: int
    count: int
    folder: Path

    @property
    def path(self) -> Path:
        """Its own folder, which is there once it is whole."""
        return self.folder / f"part-{self.number:05d}-of-{self.count:05d}"

    @property
    def building(self) -> Path:
        """Where it is encoded."""
        return self.path.with_name(f"{self.path.name}.building")

    def lock(self) -> FileLock:
        """Held by the process that encodes it."""
        return lock_of(self.path)

    def is_whole(self) -> bool:
        """Whether it is encoded."""
        try:
            open_folder(self.path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return False
        return True

    def places(self, total: int) -> slice:
        """Which of so many pictures are its own: as many as others have, one after the other."""
        return slice(total * self.number // self.count, total * (self.number + 1) // self.count)


def parts_folder(path: Path) -> Path:
    """Where the parts of the cache at this path are encoded."""
    return path.with_name(f"{path.name}{PARTS}")


def lock_of(path: Path) -> FileLock:
    """Held by the process that encodes a cache or a part of one; it lies beside the cache, which parts go with."""
    return FileLock(f"{path.parent}.{path.name}.lock" if path.parent.suffix == PARTS else f"{path}.lock")


def merge_parts(folder: Path, parts: Sequence[Part], index: Mapping[str, Any]) -> None:
    """Move whole parts into a folder, with the index that makes it one cache; nothing else is written anew.

    What lies beside the parts stays: others may be writing it, who divide the records otherwise.

    Args:
        folder: empty, beside the one that the parts lie in.
        parts: all of them.
        index: what the index is to say of the whole.

    Raises:
        UserError: if there is no record in any of them.
    """
    indices = [json.loads((part.path / INDEX).read_text(encoding="utf-8")) for part in parts]
    opened = [open_folder(part.path) for part in parts]
    total = sum(len(one.records) for one in opened)
    require_records(total)
    names = [part.path.name for part in parts]
    records = [f"{name}/{file}" for name, one in zip(names, indices, strict=True) for file in one["records"]]
    placed = total > cache_writer.LARGE
    if placed:
        PlacedRecords.of(ArrowRecords([parts[0].folder / name for name in records]).batches).save(folder)
    shutil.copyfile(parts[0].path / EMPTY_PROMPT, folder / EMPTY_PROMPT)
    digests = {
        f"{name}/{file}": digest
        for name, one in zip(names, indices, strict=True)
        for file, digest in one.get("sha256", {}).items()
    }
    beside = [EMPTY_PROMPT, *([PLACES, SIDES] if placed else [])]
    digests |= {name: sha256_of(folder / name) for name in beside}
    statistics = pooled_statistics(opened)
    content = {
        **index,
        "build": _together([one["build"] for one in indices]),
        "prompt_shape": indices[0]["prompt_shape"],
        "longest_prompt": max(one["longest_prompt"] for one in indices),
        "most_prompts": max(one["most_prompts"] for one in indices),
        "statistics": None if statistics is None else asdict(statistics),
        "shards": [f"{name}/{shard}" for name, one in zip(names, indices, strict=True) for shard in one["shards"]],
        "records": records,
        "placed": placed,
        "sha256": digests,
    }
    del opened  # Windows renames no folder with files in it that are mapped
    (folder / INDEX).write_text(json.dumps(content, indent=2), encoding="utf-8")
    for part in parts:
        rename_folder(part.path, folder / part.path.name)


def require_records(count: int) -> None:
    """Refuse a cache of nothing.

    Raises:
        UserError: if there are no records.
    """
    if not count:
        raise UserError("The data set is empty: there is no record that can be read, and training needs at least one.")


def _together(builds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was counted, in all; the seconds that all processes took."""
    notices: Counter[str] = Counter()
    for build in builds:
        notices.update(build["notices"])
    counts = {name: sum(build[name] for build in builds) for name in builds[0] if name != "notices"}
    return counts | {"notices": dict(notices)}
