"""Prompts embedded for the latents of a cache that holds none, so that pictures need not be encoded a second time."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import Timeout
from safetensors import safe_open

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
    cache is there, or there is none of latents alone. If it is stopped midway, what is missing is encoded from the
    pictures.

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
    rows_with_prompts = path.with_name(f"{path.name}.earlier-0")  # what builds call what others have left
    cache = open_whole(alone, logging.DEBUG)
    if cache is None or rows_with_prompts.exists() or open_whole(path, logging.DEBUG) is not None:
        return
    logger.info("Embedding the prompts of %d records, whose latents are in %s", len(cache), alone)
    rows_with_prompts.mkdir()
    writer = CacheWriter(rows_with_prompts, dtype, recipe)
    try:
        _write(writer, cache, text_encoder)
    finally:
        writer.keep_what_is_done()


@torch.no_grad()
def _write(writer: CacheWriter, cache: LatentCache, text_encoder: TextEncoder) -> None:
    done = 0
    with display("Embedding", len(cache)) as progress:
        for rows in _rows(cache):
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
                writer.require_room(len(cache))
            done += len(rows)
            progress.update(done)


def _rows(cache: LatentCache) -> Iterator[list[_Row]]:
    """What is in a cache, some records of one shape at a time."""
    shards = [cache.path / name for name in json.loads((cache.path / INDEX).read_text(encoding="utf-8"))["shards"]]
    held = EarlierRows(sorted({shard.parent for shard in shards}))
    first = 0
    for shard in shards:
        contents = [bytes(content.tolist()) for content in safe_open(shard, "pt").get_tensor("content")]
        found = [(cache.records[first + row], content, held.find(content)) for row, content in enumerate(contents)]
        rows = [_Row(record, content, stored) for record, content, stored in found if stored is not None]
        for start in range(0, len(rows), AT_ONCE):
            yield rows[start : start + AT_ONCE]
        first += len(contents)
