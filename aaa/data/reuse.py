"""What earlier caches already hold: rows that were made from the same picture and prompts by the same encoders.

A picture was added, a caption mended, a build killed, a shard damaged: only what is missing is encoded again.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.data.cache_folder import NOTICES

logger = logging.getLogger(__name__)

_CONTENT = "S16"  # 16 bytes that tell what a row was made from


@dataclass(frozen=True)
class Stored:
    """A record as a cache holds it.

    Attributes:
        latents: `C H W`.
        prompt_embeds: of each of its prompts, `P L D`.
        prompt_tokens: of each.
        picture: its `picture_digest`.
        notices: what its owner should know of how the picture was read; none where an early version read it.
    """

    latents: Tensor
    prompt_embeds: Tensor
    prompt_tokens: Sequence[int]
    picture: str
    notices: Sequence[str] = ()


class EarlierRows:
    """The rows of all readable shards of some folders, found by what they were made from.

    Args:
        folders: caches, damaged or unfinished ones too, all of one recipe.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._shards: list[_Shard] = []
        contents = []
        for file in (file for folder in folders for file in sorted(folder.glob("shard-*.safetensors"))):
            try:
                shard = _Shard(file)
            except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
                logger.warning("%s is damaged (%s); what it held is encoded again.", file, error)
                continue
            self._shards.append(shard)
            contents.append(shard.content)
        self._contents = torch.cat(contents) if contents else torch.empty(0, 16, dtype=torch.uint8)
        # Sorted by their first eight bytes: a dictionary of millions of rows would take gigabytes.
        self._keys, self._order = self._contents[:, :8].contiguous().view(torch.int64).flatten().sort()
        self._ends = torch.tensor([len(shard.content) for shard in self._shards], dtype=torch.long).cumsum(0)

    def __len__(self) -> int:
        return len(self._contents)

    def find(self, content: bytes) -> Stored | None:
        """The row made from this content, 16 bytes, if there is one."""
        wanted = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        place = int(torch.searchsorted(self._keys, wanted[:8].view(torch.int64)))
        if place == len(self._keys):
            return None
        row = int(self._order[place])
        if not torch.equal(self._contents[row], wanted):
            return None
        shard = int(torch.searchsorted(self._ends, row, right=True))
        return self._shards[shard].row(row - int(self._ends[shard]) + len(self._shards[shard].content))


class _Shard:
    def __init__(self, file: Path) -> None:
        shard = safe_open(file, "pt")
        self.content = shard.get_tensor("content")
        self._pictures = shard.get_tensor("picture")
        self._latents, self._prompt_embeds = shard.get_tensor("latents"), shard.get_tensor("prompt_embeds")
        self._prompt_tokens: list[int] = shard.get_tensor("prompt_tokens").tolist()
        self._ends: list[int] = shard.get_tensor("prompt_counts").cumsum(0).tolist()
        self._notices: dict[int, list[str]] = {}
        for notice, rows in json.loads((shard.metadata() or {}).get(NOTICES, "{}")).items():
            for row in rows:
                self._notices.setdefault(row, []).append(notice)

    def row(self, row: int) -> Stored:
        prompts = slice(self._ends[row - 1] if row else 0, self._ends[row])
        picture = bytes(self._pictures[row].tolist()).hex()
        tokens, notices = self._prompt_tokens[prompts], self._notices.get(row, ())
        return Stored(self._latents[row], self._prompt_embeds[prompts], tokens, picture, notices)


def remove_doubled(folders: Sequence[Path]) -> None:
    """Remove folders all of whose rows others of them hold: each build that was stopped copied those before it.

    Args:
        folders: what is left of such builds, which nobody writes to; one that cannot be read stays.
    """
    rows: dict[Path, NDArray[np.bytes_]] = {}
    for folder in folders:
        try:
            rows[folder] = _contents_below(folder)
        except (OSError, ValueError, SafetensorError) as error:
            logger.debug("%s cannot be read: %s", folder, error)
    held = np.empty(0, _CONTENT)
    for folder in sorted(rows, key=lambda folder: (len(rows[folder]), folder.name), reverse=True):
        if np.isin(rows[folder], held).all():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            held = np.union1d(held, rows[folder])


def _contents_below(folder: Path) -> NDArray[np.bytes_]:
    """What the rows of a cache or part, whole or not, were made from."""
    shards = [safe_open(file, "pt").get_tensor("content").numpy() for file in folder.rglob("shard-*.safetensors")]
    return np.concatenate([np.empty(0, _CONTENT), *(shard.view(_CONTENT)[:, 0] for shard in shards)])


def share_held(folder: Path, whole: Path) -> float:
    """How many of a folder's rows a cache holds, of all; 1 of a folder that has none, or none that can be read."""
    try:
        rows = _contents_below(folder)
    except (OSError, ValueError, SafetensorError) as error:
        logger.debug("%s cannot be read: %s", folder, error)
        return 1.0
    return float(np.isin(rows, _contents_below(whole)).mean()) if len(rows) else 1.0
