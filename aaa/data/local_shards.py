"""Local copies of shards that lie elsewhere, no more than a disk may hold; processes of a machine share them."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.data.cache_folder import Outline
from aaa.data.remote_folder import RemoteFolder
from aaa.errors import UserError, reason

WAIT_SECONDS = 0.05
PART = ".part"  # ending of what is being fetched


class LocalShards:
    """Shards of a cache, fetched when they are asked for or beforehand.

    What was used longest ago makes room for what is needed. A shard has its name once it is whole; what a killed
    process left of one is removed by any other. What one process removes and another reads stays readable to that one;
    on Windows it is not removed before nobody reads it.

    Args:
        remote: where the shards are.
        folder: for the copies, which nobody else uses.
        names: of the shards.
        outlines: of each.
        sha256: of those of which it is known.
        limit_bytes: that all copies may take up.

    Attributes:
        holds_all: whether there is room for all shards at once.

    Raises:
        UserError: if the limit holds no two shards.
    """

    def __init__(
        self,
        remote: RemoteFolder,
        folder: Path,
        names: Sequence[str],
        outlines: Sequence[Outline],
        sha256: Mapping[str, str],
        limit_bytes: int,
    ) -> None:
        self._remote, self._folder, self._names, self._outlines = remote, folder, names, outlines
        self._sha256, self.limit_bytes = sha256, limit_bytes
        self._files = [f"{number:06d}.safetensors" for number in range(len(names))]
        self._numbers = {file.partition(".")[0]: number for number, file in enumerate(self._files)}
        self._open: dict[int, tuple[Tensor, Tensor]] = {}
        self._lock = Lock()
        largest = sorted(outline.nbytes for outline in outlines)[-2:]
        if sum(largest) > limit_bytes:
            raise UserError(
                f"data.local_cache_gib={limit_bytes / 2**30:.4g}: must hold two shards of {remote.address}, "
                f"{sum(largest) / 2**30:.4g} GiB."
            )
        self.holds_all = sum(outline.nbytes for outline in outlines) <= limit_bytes
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()

    def tensors(self, shard: int) -> tuple[Tensor, Tensor]:
        """Latents and prompt_embeds of a shard, mapped into memory; waits until it is here.

        Raises:
            UserError: if it cannot be had.
        """
        while True:
            with self._lock:
                held = self._open.get(shard)
            if held is None:
                self._bring(shard, keep=None)
                held = self._opened(shard)
            if held is not None:
                if not self.holds_all:  # nothing is ever removed else
                    with suppress(FileNotFoundError):
                        os.utime(self._path(shard))
                return held

    def offer(self, shard: int, keep: Collection[int]) -> bool:
        """Fetch a shard beforehand, if there is room for it beside those to keep; whether it is here."""
        return self._bring(shard, keep)

    def _path(self, shard: int) -> Path:
        return self._folder / self._files[shard]

    def _number(self, file: Path) -> int | None:
        """Of which shard a file is a copy, whole or begun."""
        return self._numbers.get(file.name.partition(".")[0])

    def _is_here(self, shard: int) -> bool:
        try:
            return self._path(shard).stat().st_size == self._outlines[shard].nbytes
        except FileNotFoundError:
            return False

    def _opened(self, shard: int) -> tuple[Tensor, Tensor] | None:
        """None if another process has removed it meanwhile."""
        try:
            file = safe_open(self._path(shard), "pt")
            held = file.get_tensor("latents"), file.get_tensor("prompt_embeds")
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self._path(shard)}: the copy of {self._remote.address}/{self._names[shard]} is damaged "
                f"({reason(error)}). Remove it, and it is fetched again."
            ) from None
        with self._lock:
            if not self.holds_all:
                self._let_go()
            self._open[shard] = held
        return held

    def _bring(self, shard: int, keep: Collection[int] | None) -> bool:
        """Fetch a shard unless it is here.

        Args:
            shard: which.
            keep: those that must not make room for it; None: any may, and room is waited for.
        """
        if self._is_here(shard):
            return True
        with self._lock_of(shard):
            if self._is_here(shard):
                return True
            self._remove_parts(shard)
            part = self._path(shard).with_name(f"{self._files[shard]}{PART}")
            while not self._make_room(shard, part, keep or ()):
                self._remove_leftovers(besides=shard)
                if keep is not None:
                    return False
                time.sleep(WAIT_SECONDS)
            try:
                name = self._names[shard]
                self._remote.fetch(name, part, self._outlines[shard].nbytes, self._sha256.get(name))
                with self._room():  # who counts sees the one name or the other
                    part.replace(self._path(shard))
            finally:
                part.unlink(missing_ok=True)
        return True

    def _make_room(self, shard: int, part: Path, keep: Collection[int]) -> bool:
        """Remove what was used longest ago until a shard fits, and take up its place; False if it does not fit yet."""
        with self._room():
            sizes, whole = self._on_disk()
            free = self.limit_bytes - sum(sizes) - self._outlines[shard].nbytes
            others = [other for other in whole if other not in keep]
            if free + sum(self._outlines[other].nbytes for other in others) < 0:
                return False
            for other in others:
                if free >= 0:
                    break
                if self._remove(other):
                    free += self._outlines[other].nbytes
            if free < 0:
                return False
            part.touch()
            with self._lock:
                self._let_go()
            return True

    def _remove(self, shard: int) -> bool:
        """Remove a copy; False if somebody reads it, for which Windows keeps it."""
        with self._lock:
            self._open.pop(shard, None)
        try:
            self._path(shard).unlink(missing_ok=True)
        except PermissionError:
            return False
        return True

    def _let_go(self) -> None:
        """Close what has been removed, by whichever process: its place on the disk is free once nobody has it open."""
        for other in [other for other in self._open if not self._path(other).exists()]:
            del self._open[other]

    def _lock_of(self, shard: int, timeout: float = -1) -> FileLock:
        """Held by whoever fetches a shard."""
        return FileLock(self._folder / "locks" / f"{shard}.lock", timeout)

    def _room(self) -> FileLock:
        return FileLock(self._folder / "locks" / "room.lock")

    def _on_disk(self) -> tuple[list[int], list[int]]:
        """Sizes of all copies, those that are being fetched as they will be; and which are whole, oldest first."""
        sizes, used = [], []
        for file in self._folder.iterdir():
            number = self._number(file)
            if number is None:
                continue
            sizes.append(self._outlines[number].nbytes)
            if file == self._path(number):
                with suppress(FileNotFoundError):
                    used.append((file.stat().st_mtime_ns, number))
        return sizes, [number for _, number in sorted(used)]

    def _remove_parts(self, shard: int) -> None:
        for part in self._folder.glob(f"{self._files[shard]}*{PART}"):
            part.unlink(missing_ok=True)

    def _remove_leftovers(self, besides: int | None = None) -> None:
        """Remove what killed processes left of shards: who still fetches one, here or on another machine, locks it."""
        for shard in {self._number(part) for part in self._folder.glob(f"*{PART}")}:
            if shard is not None and shard != besides:
                with suppress(Timeout), self._lock_of(shard, timeout=0):
                    self._remove_parts(shard)
