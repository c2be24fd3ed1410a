"""Building a latent cache: aside, and renamed when whole, so what has a cache's name is a whole cache."""

import logging
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from aaa.data.cache import LatentCache
from aaa.data.cache_parts import PARTS, Part, lock_of, merge_parts, parts_folder, require_records
from aaa.data.cache_writer import CacheWriter
from aaa.data.encoding import CacheBuild, Job, Pictures, encode_all
from aaa.data.findings import say_of_earlier
from aaa.data.reuse import EarlierRows, remove_doubled, share_held
from aaa.encoders.protocols import VAE, TextEncoder
from aaa.errors import UserError
from aaa.tracking.files import rename_folder

logger = logging.getLogger(__name__)

# Names of folders that are no caches: what is being built, and what was left of earlier builds.
UNFINISHED = re.compile(r"(.*)\.(building|earlier-\d+(-\d)?)")
# A build whose rows are in another cache for the most part was one of the same data, as they were before.
SAME_DATA = 0.5


def open_whole(path: Path, level: int) -> LatentCache | None:
    """The cache, if it is there and whole; what is wrong with it is logged at this level."""
    if not path.is_dir():
        return None
    try:
        return LatentCache(path)
    except UserError as error:
        logger.log(level, "%s", error)
        return None


class CacheBuilder:
    """Opens the cache at `path`, building it first if it is not there or damaged.

    Args:
        path: the cache's folder.
        pictures: that it is of.
        encoders: gives the VAE and the text encoder; called only if there is something to build.
        fingerprint: hash of everything that shapes the cache, kept in its index.
        recipe: hash of everything but the records that shapes it: caches of one recipe share rows.
        storage_dtype: of latents and prompt_embeds on disk.
        origin: the config that shaped the cache, kept in its index for people to read.
    """

    def __init__(
        self,
        path: Path,
        pictures: Pictures,
        encoders: Callable[[], tuple[VAE, TextEncoder]],
        *,
        fingerprint: str,
        recipe: str,
        storage_dtype: torch.dtype,
        origin: dict[str, Any],
    ) -> None:
        self.path, self.pictures, self.encoders = path, pictures, encoders
        self.recipe, self.storage_dtype = recipe, storage_dtype
        self._index = {"fingerprint": fingerprint, "origin": origin}
        self._encoders: tuple[VAE, TextEncoder] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def open(self, parts: int = 1, first: int = 0) -> LatentCache:
        """The whole cache.

        Of several processes each encodes a part that nobody else is at, until all are there; if one dies, another
        takes its part over. With one part, one builds while the others wait.

        Args:
            parts: that the records are divided into.
            first: of them, that this process takes if it can.

        Raises:
            UserError: if records cannot be read (all of a part are named at once), or none are left.
        """
        if (cache := open_whole(self.path, logging.DEBUG)) is not None:
            say_of_earlier(cache.folder.build, cache.prompt_shape[0])
            return cache
        if parts == 1:
            self._build()
            return LatentCache(self.path)
        while (cache := open_whole(self.path, logging.WARNING)) is None:
            self._build_parts(parts, first)
        return cache

    def open_part(self, number: int, count: int) -> LatentCache | None:
        """See to it that one part is encoded; the cache, if that was the last, else None.

        Args:
            number: of the part, from 0.
            count: parts that the records are divided into.

        Raises:
            UserError: as `open` does.
        """
        if (cache := open_whole(self.path, logging.DEBUG)) is not None:
            return cache
        folder = parts_folder(self.path)
        folder.mkdir(exist_ok=True)
        part = Part(number, count, folder)
        while not self._build_part(part):
            logger.info("Another process is encoding part %d of %d; waiting for it.", number, count)
            with part.lock():
                pass
        self._merge(count)
        return open_whole(self.path, logging.WARNING)

    def _build(self) -> None:
        """Build all of it, or wait until another process has."""
        lock = lock_of(self.path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Another process is building the latent cache %s; waiting for it.", self.path)
            lock.acquire()
        try:
            if open_whole(self.path, logging.WARNING) is not None:
                return
            building = self._put_aside_leftovers()
            build = self._encode(building, self.pictures.jobs())
            require_records(build.records)
            rename_folder(building, self.path)
            self._clean_up()
        finally:
            lock.release()

    def _build_parts(self, count: int, first: int) -> None:
        """Encode parts that nobody is at, from the first on, put all together, or wait for somebody who is at one."""
        busy = None
        folder = parts_folder(self.path)
        folder.mkdir(exist_ok=True)
        for number in range(count):
            part = Part((first + number) % count, count, folder)
            if not self._build_part(part):
                busy = busy or part
        if busy is not None:
            logger.info("Another process is encoding part %d of %d; waiting for it.", busy.number, count)
            with busy.lock():  # once it is released, the part is whole or its process is dead
                return
        self._merge(count)

    def _build_part(self, part: Part) -> bool:
        """Encode a part, if that is still to be done.

        Returns:
            False if another process is at it.
        """
        if part.is_whole():
            return True
        lock = part.lock()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if not part.is_whole() and open_whole(self.path, logging.DEBUG) is None:
                _put_aside(part.path, part.path)
                _put_aside(part.building, part.path)
                jobs = self.pictures.jobs()
                self._encode(part.building, jobs[part.places(len(jobs))])
                rename_folder(part.building, part.path)
        finally:
            lock.release()
        return True

    def _merge(self, count: int) -> None:
        """Put the parts together, unless another process did, or some are still missing."""
        with lock_of(self.path):
            if open_whole(self.path, logging.DEBUG) is None:
                folder = parts_folder(self.path)
                parts = [Part(number, count, folder) for number in range(count)]
                if not all(part.is_whole() for part in parts):
                    return
                building = self._put_aside_leftovers()
                building.mkdir()
                merge_parts(building, parts, self._index)
                rename_folder(building, self.path)
            self._clean_up()

    def _put_aside_leftovers(self) -> Path:
        """Put aside what a killed build left behind, and what is damaged.

        Returns:
            Where the cache is to be built.
        """
        building = self.path.with_name(f"{self.path.name}.building")
        for number, leftover in enumerate((building, self.path)):
            _put_aside(leftover, self.path, f"-{number}")
        return building

    def _encode(self, folder: Path, jobs: list[Job]) -> CacheBuild:
        """Encode these pictures into a folder, of which each can be opened alone."""
        folder.mkdir()
        writer = CacheWriter(folder, self.storage_dtype, self.recipe)
        earlier = EarlierRows(_folders_of(self.recipe, self.path.parent))
        try:
            self._encoders = self._encoders or self.encoders()
            build = encode_all(writer, self.pictures, jobs, *self._encoders, earlier)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            if stopped:
                logger.info("Stopping: what is encoded is written down.")
            with suppress(OSError, UserError):  # a full disk may be what went wrong
                writer.keep_what_is_done()
            if not any(folder.glob("shard-*.safetensors")):
                shutil.rmtree(folder, ignore_errors=True)  # nothing to go on from
            elif stopped:
                logger.info("Stopped. What is encoded is kept: the same command goes on from there.")
            raise
        writer.close(**self._index, build=asdict(build))
        return build

    def _clean_up(self) -> None:
        """Remove what is left of builds, all of which is in a whole cache now."""
        for folder in self.path.parent.glob(f"{escape(self.path.name)}.earlier-*"):
            shutil.rmtree(folder, ignore_errors=True)
        _remove_parts(self.path)
        for folder in _folders_of(self.recipe, self.path.parent):
            _remove_unfinished(folder, self.path)
            if folder.parent.suffix == PARTS and open_whole(folder.parent.with_suffix(""), logging.DEBUG) is not None:
                _remove_parts(folder.parent.with_suffix(""))


def _put_aside(leftover: Path, path: Path, number: str = "") -> None:
    """Keep what is left of a build of this cache or part, for the rows in it that nothing else has."""
    if leftover.is_dir():
        rename_folder(leftover, path.with_name(f"{path.name}.earlier-{time.time_ns()}{number}"))
        remove_doubled([*path.parent.glob(f"{escape(path.name)}.earlier-*")])


def _folders_of(recipe: str, parent: Path) -> list[Path]:
    """Folders with rows of this recipe: caches and parts of some, whole or not."""
    folders = []
    for file in sorted([*parent.glob("*/recipe"), *parent.glob("*/*/recipe")]):
        with suppress(FileNotFoundError):  # another process has just finished with it
            if file.read_text(encoding="utf-8") == recipe:
                folders.append(file.parent)
    return folders


def _remove_unfinished(folder: Path, whole: Path) -> None:
    """Remove what is left of a build of the data that are in a whole cache now, unless somebody is at it.

    That of other data, of which the cache has next to nothing, will be gone on with.
    """
    unfinished = UNFINISHED.fullmatch(folder.name)
    if unfinished is None or share_held(folder, whole) < SAME_DATA:
        return
    lock = lock_of(folder.with_name(unfinished[1]))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)  # another process may have been faster
    finally:
        lock.release()


def _remove_parts(path: Path) -> None:
    """Remove parts of a cache that is whole, unless somebody is at one of them; who comes later finds the cache."""
    folder = parts_folder(path)
    locks = [*path.parent.glob(f"{escape(folder.name)}.*.lock")]
    try:
        for lock in locks:
            with FileLock(lock).acquire(timeout=0):
                pass
    except Timeout:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for lock in locks:
        lock.unlink(missing_ok=True)
