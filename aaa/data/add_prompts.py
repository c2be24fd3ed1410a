"""Prompts embedded for the latents of a cache that holds none, so that pictures need not be encoded a second time."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import Timeout
from safetensors import safe_open
from torch import Tensor

from aaa.data.build_cache import open_whole
from aaa.data.cache import LatentCache
from aaa.data.cache_folder import INDEX
from aaa.data.cache_parts import lock_of
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.data.reuse import EarlierRows, Stored
from aaa.encoders.embedding import embed
from aaa.encoders.protocols import TextEncoder
from aaa.tracking.console import display

logger = logging.getLogger(__name__)

AT_ONCE = 64  # records


class _Row(NamedTuple):
    """A record with its content, 16 bytes that tell what it was made from, and what the cache holds of it."""

    record: CachedRecord
    content: bytes
    stored: Stored


def add_prompts(alone: Path, path: Path, recipe: str, text_encoder: TextEncoder, dtype: torch.dtype) -> None:
    """Write what a build of the cache at `path` takes over, as it does from a build that was stopped.

    Of several processes one does it while the others wait, as they do for one that builds. Nothing is done where that
    cache is there, or there is none of latents alone. If it is stopped midway, the next one goes on from there.

    Args:
        alone: folder of the cache of latents alone.
        path: where the one with embeddings is to be.
        recipe: of the latter; see `CacheBuilder`.
        text_encoder: on its device.
        dtype: of embeddings on the disk.

    Raises:
        UserError: if the disk has no room for it.
    """
    lock = lock_of(path)  # whoever else builds removes what is left of a build that nobody is at
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is building the latent cache %s; waiting for it.", path)
        lock.acquire()
    try:
        _add(alone, path, recipe, text_encoder, dtype)
    finally:
        lock.release()


def _add(alone: Path, path: Path, recipe: str, text_encoder: TextEncoder, dtype: torch.dtype) -> None:
    cache = open_whole(alone, logging.DEBUG)
    if cache is None or open_whole(path, logging.DEBUG) is not None:
        return
    done = EarlierRows([*path.parent.glob(f"{escape(path.name)}.earlier-*")])  # what builds call what was left
    missing = {shard: _missing(shard, done) for shard in _shards(cache)}
    count = sum(map(len, missing.values()))
    if not count:
        return
    logger.info("Embedding the prompts of %d records, whose latents are in %s", count, alone)
    folder = path.with_name(f"{path.name}.earlier-{time.time_ns()}")
    folder.mkdir()
    writer = CacheWriter(folder, dtype, recipe)
    try:
        _write(writer, cache, missing, text_encoder)
    finally:
        writer.keep_what_is_done()
        if not any(folder.glob("shard-*.safetensors")):
            shutil.rmtree(folder, ignore_errors=True)


@torch.no_grad()
def _write(writer: CacheWriter, cache: LatentCache, missing: Mapping[Path, Tensor], text_encoder: TextEncoder) -> None:
    count, done = sum(map(len, missing.values())), 0
    with display("Embedding", count) as progress:
        for rows in _rows(cache, missing):
            stored = [row.stored for row in rows]
            prompts = [prompt for row in rows for prompt in row.record.prompts]
            prompt_embeds, _ = embed(text_encoder, prompts)
            writer.write(
                [row.record for row in rows],
                torch.stack([one.latents for one in stored]),
                prompt_embeds,
                [tokens for one in stored for tokens in one.prompt_tokens],
                [row.content for row in rows],
                [one.notices for one in stored],
            )
            if not done:
                writer.require_room(count)
            done += len(rows)
            progress.update(done)


def _shards(cache: LatentCache) -> list[Path]:
    return [cache.path / name for name in json.loads((cache.path / INDEX).read_text(encoding="utf-8"))["shards"]]


def _contents(shard: Path) -> list[bytes]:
    return [bytes(content.tolist()) for content in safe_open(shard, "pt").get_tensor("content")]


def _missing(shard: Path, done: EarlierRows) -> Tensor:
    """Which rows of a shard are not among those that are done."""
    rows = [row for row, content in enumerate(_contents(shard)) if done.find(content) is None]
    return torch.tensor(rows, dtype=torch.long)


def _rows(cache: LatentCache, missing: Mapping[Path, Tensor]) -> Iterator[list[_Row]]:
    """These rows of a cache, some records of one shape at a time."""
    held = EarlierRows(sorted({shard.parent for shard in missing}))
    first = 0
    for shard, numbers in missing.items():
        contents = _contents(shard)
        found = [(cache.records[first + row], contents[row], held.find(contents[row])) for row in numbers.tolist()]
        rows = [_Row(record, content, stored) for record, content, stored in found if stored is not None]
        for start in range(0, len(rows), AT_ONCE):
            yield rows[start : start + AT_ONCE]
        first += len(contents)
