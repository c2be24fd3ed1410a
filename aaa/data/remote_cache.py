"""A latent cache anywhere that fsspec reaches: what is known of its records is here, its shards come when needed."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from aaa.data.cache_folder import EMPTY_PROMPT, INDEX, CacheFolder, Outline, open_folder
from aaa.data.grouped_order import ShardGroups
from aaa.data.local_shards import LocalShards
from aaa.data.picture_places import PLACES, SIDES
from aaa.data.remembering_cache import RememberingCache
from aaa.data.remote_folder import RemoteFolder, outline_of, told
from aaa.errors import UserError

logger = logging.getLogger(__name__)

HEADERS_AT_ONCE = 16
DIGEST_LETTERS = 16
OUTLINES = "outlines.json"


class RemoteCache(RememberingCache):
    """The cache at an address.

    Its index, its records and the copies of its shards lie in a local folder that is named by the index' content: what
    is at the address later under another index has another folder.

    Args:
        address: of the cache's folder, as fsspec takes it.
        copies: folder for the local folders of such caches.
        limit_bytes: that the copies of its shards may take up.

    Attributes:
        index: what the cache says of itself.

    Raises:
        UserError: if there is no cache, it cannot be read, or the limit is too small for it.
    """

    def __init__(self, address: str, copies: Path, limit_bytes: int) -> None:
        self.remote = RemoteFolder(address)
        content = self.remote.read(INDEX)
        try:
            self.index: Mapping[str, Any] = json.loads(content)
            self._names: list[str] = list(self.index["shards"])
            self._sha256: dict[str, str] = dict(self.index.get("sha256", {}))
            if "records" not in self.index:
                raise UserError(
                    f"{self.remote.address}: an early version made it, of which all has to be there. Copy the whole "
                    "folder, and give its path."
                )
            beside = [*self.index["records"], EMPTY_PROMPT, *([PLACES, SIDES] if self.index["placed"] else [])]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.remote.address}/{INDEX}: no index of a latent cache ({error}).") from None
        for name in (*self._names, *beside):
            if not _is_below(name):
                raise UserError(
                    f"{self.remote.address}/{INDEX}: {name!r} is no file of that folder; no cache has such."
                )
        digest = hashlib.sha256(self.remote.address.encode() + b"\n" + content).hexdigest()[:DIGEST_LETTERS]
        path = copies / f"{self.remote.address.rpartition('/')[2]}-{digest}"
        path.mkdir(parents=True, exist_ok=True)
        self._fetch_records(path, beside, content)
        self._outlines = self._read_outlines(path)
        super().__init__(path)
        self._shards = LocalShards(self.remote, path / "shards", self._names, self._outlines, self._sha256, limit_bytes)
        needed = self._two_of_each_shape()
        if not self.holds_all and needed > limit_bytes:
            logger.warning(
                "data.local_cache_gib=%.4g: batches are of one shape each, and two shards of each of the %d shapes of "
                "%s take %.4g GiB. With less room shards are fetched several times an epoch.",
                limit_bytes / 2**30,
                len(self.shapes),
                self.remote.address,
                needed / 2**30,
            )

    def _two_of_each_shape(self) -> int:
        """Bytes of the shards that are read by turns, and of those that follow them."""
        sizes: dict[torch.Size, list[int]] = {}
        for outline in self._outlines:
            sizes.setdefault(outline.latents.shape[1:], []).append(outline.nbytes)
        return sum(sum(sorted(of_shape)[-2:]) for of_shape in sizes.values())

    @property
    def holds_all(self) -> bool:
        """Whether there is room here for all shards at once."""
        return self._shards.holds_all

    @property
    def groups(self) -> ShardGroups | None:
        """What there is room for at once, unless that is everything."""
        if self.holds_all:
            return None
        spans = [range(int(start), int(end)) for start, end in zip(self._starts, self._ends, strict=True)]
        return ShardGroups(spans, [outline.nbytes for outline in self._outlines], self._shards.limit_bytes)

    @property
    def is_here(self) -> bool:
        """Whether all shards lie on a disk of this machine."""
        return False

    def offer(self, shard: int, keep: Collection[int]) -> bool:
        """Fetch a shard beforehand, if there is room for it beside those to keep; whether it is here."""
        return self._shards.offer(shard, keep)

    def _open(self) -> CacheFolder:
        return open_folder(self.path, self._outlines)

    def tensors(self, shard: int) -> tuple[Tensor, Tensor]:
        """Latents and prompt_embeds of a shard, `n C H W` and `p L D`."""
        return super().tensors(shard) if self.device.type != "cpu" else self._shards.tensors(shard)

    def _fetch_records(self, path: Path, beside: Sequence[str], content: bytes) -> None:
        """Fetch what is beside the shards; the index last, which says that it is all there."""
        with FileLock(path / "fetch.lock"):
            if (path / INDEX).is_file():
                return
            for name in beside:
                file = path / name
                file.parent.mkdir(parents=True, exist_ok=True)
                aside = file.with_name(f"{file.name}.part")
                self.remote.fetch(name, aside, None, self._sha256.get(name))
                aside.replace(file)
            (path / f"{INDEX}.part").write_bytes(content)
            (path / f"{INDEX}.part").replace(path / INDEX)

    def _read_outlines(self, path: Path) -> list[Outline]:
        """What each shard holds: from its first bytes, once."""
        file = path / OUTLINES
        with FileLock(path / "fetch.lock"):
            if not file.is_file():
                with ThreadPoolExecutor(HEADERS_AT_ONCE) as threads:
                    found = [told(outline) for outline in threads.map(self.remote.outline, self._names)]
                file.with_name(f"{file.name}.part").write_text(json.dumps(found), encoding="utf-8")
                file.with_name(f"{file.name}.part").replace(file)
        return [outline_of(*shard) for shard in json.loads(file.read_text(encoding="utf-8"))]


def _is_below(name: object) -> bool:
    """Whether this names a file in a folder or below it: a fetched index could name any file of this machine."""
    if not isinstance(name, str):
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
