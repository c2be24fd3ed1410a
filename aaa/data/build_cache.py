"""Building a latent cache: every record read, fitted, encoded and written down, once.

It is built aside and renamed when whole, so what has a cache's name is a whole cache. What other caches of the same
encoders hold already, unfinished and damaged ones too, is taken over.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import ImageOps
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.data.duplicates import picture_digest
from aaa.data.findings import Findings
from aaa.data.pictures import cover, cut_centre, notices_of, to_tensor
from aaa.data.records import Record, Source
from aaa.data.reuse import EarlierRows, Stored
from aaa.encoders.prompts import normalised
from aaa.encoders.protocols import VAE, NormalisesLatents, TextEncoder
from aaa.encoders.statistics import Moments
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from aaa.tracking.console import display

logger = logging.getLogger(__name__)

LISTED_PROBLEMS = 20
# Names of folders that are no caches: what is being built, and what was left of earlier builds.
UNFINISHED = re.compile(r"(.*)\.(building|earlier-\d+-\d)")

Fit = Callable[[int, int], tuple[int, int]]  # width and height of a picture -> height and width to cut it to


@dataclass(frozen=True)
class _Item:
    """A record on its way into the cache.

    Attributes:
        record: as it is to be kept.
        content: 16 bytes that tell what it is made from.
        found: its image, `3 H W` in -1..1, or what an earlier cache holds of it.
        notices: what its owner should know of how the picture was read.
    """

    record: CachedRecord
    content: bytes
    found: Tensor | Stored
    notices: Sequence[str] = field(default=())


@dataclass(frozen=True)
class CacheBuild:
    """Counts and times of building a cache; `reused` of its records were taken over from earlier ones."""

    records: int
    reused: int
    skipped: int
    cut_prompts: int
    seconds: float


def open_or_build(
    path: Path,
    source: Source,
    encoders: Callable[[], tuple[VAE, TextEncoder]],
    *,
    fingerprint: str,
    recipe: str,
    identify: Callable[[Record], str],
    fit: Fit,
    horizontal_flip: bool,
    skip_unreadable: bool,
    storage_dtype: torch.dtype,
    batch_size: int,
    origin: dict[str, Any],
) -> LatentCache:
    """Open the cache at `path`, building it first if it is not there or damaged.

    Of several processes one builds while the others wait; if it dies, another takes over.

    Args:
        path: the cache's folder.
        source: the records.
        encoders: gives the VAE and the text encoder; called only if there is something to build.
        fingerprint: hash of everything that shapes the cache, kept in its index.
        recipe: hash of everything but the records that shapes it: caches of one recipe share rows.
        identify: tells pictures apart: the same text for the same picture; raises UserError if its file is no longer
            what the fingerprint is of.
        fit: which size a picture is cut to, by its own.
        horizontal_flip: also cache each training picture mirrored.
        skip_unreadable: leave out records that cannot be read, instead of failing.
        storage_dtype: of latents and prompt_embeds on disk.
        batch_size: pictures encoded at once.
        origin: the config that shaped the cache, kept in its index for people to read.

    Raises:
        UserError: if records cannot be read (all are named at once), or none are left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if (cache := _open(path, logging.DEBUG)) is not None:
        return cache
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is building the latent cache %s; waiting for it.", path)
        lock.acquire()
    try:
        if (cache := _open(path, logging.WARNING)) is not None:
            return cache
        # What a killed build left behind, and what is damaged.
        for number, leftover in enumerate((path.with_name(f"{path.name}.building"), path)):
            if leftover.is_dir():
                leftover.rename(path.with_name(f"{path.name}.earlier-{time.time_ns()}-{number}"))
        building = path.with_name(f"{path.name}.building")
        building.mkdir()
        writer = CacheWriter(building, storage_dtype, recipe)
        earlier = EarlierRows(_folders_of(recipe, path.parent))
        try:
            build = _encode_all(
                writer, source, *encoders(), earlier, identify, fit, horizontal_flip, skip_unreadable, batch_size
            )
        except BaseException:
            with suppress(OSError, UserError):  # a full disk may be what went wrong
                writer.keep_what_is_done()
            raise
        writer.close(fingerprint=fingerprint, build=asdict(build), origin=origin)
        building.rename(path)
        for folder in path.parent.glob(f"{path.name}.earlier-*"):
            shutil.rmtree(folder)
        for folder in _folders_of(recipe, path.parent):
            _remove_unfinished(folder)
    finally:
        lock.release()
    return LatentCache(path)


def _open(path: Path, level: int) -> LatentCache | None:
    """The cache, if it is there and whole; what is wrong with it is logged at this level."""
    if not path.is_dir():
        return None
    try:
        return LatentCache(path)
    except UserError as error:
        logger.log(level, "%s", error)
        return None


def _folders_of(recipe: str, parent: Path) -> list[Path]:
    """Folders with rows of this recipe, whole caches or not."""
    folders = []
    for file in sorted(parent.glob("*/recipe")):
        with suppress(FileNotFoundError):  # another process has just finished with it
            if file.read_text(encoding="utf-8") == recipe:
                folders.append(file.parent)
    return folders


def _remove_unfinished(folder: Path) -> None:
    """Remove what is left of a build, unless somebody is at it: all that it holds is in a whole cache now."""
    unfinished = UNFINISHED.fullmatch(folder.name)
    if unfinished is None:
        return
    lock = FileLock(folder.with_name(f"{unfinished[1]}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    try:
        shutil.rmtree(folder)
    finally:
        lock.release()


def _encode_all(
    writer: CacheWriter,
    source: Source,
    vae: VAE,
    text_encoder: TextEncoder,
    earlier: EarlierRows,
    identify: Callable[[Record], str],
    fit: Fit,
    horizontal_flip: bool,
    skip_unreadable: bool,
    batch_size: int,
) -> CacheBuild:
    """Encode every record into the writer, the next batch of files being read meanwhile."""
    began = time.monotonic()
    jobs = [(index, False) for index in range(len(source))]
    if horizontal_flip:
        jobs += [(index, True) for index in range(len(source)) if source[index].split != "validation"]
    problems: list[str] = []
    findings = Findings(text_encoder.max_length, isinstance(text_encoder, WordEmbedding))
    moments = Moments() if isinstance(vae, NormalisesLatents) and vae.statistics is None else None
    empty, lengths = text_encoder.encode([""])
    writer.write_empty_prompt(empty, max(lengths))

    def readable() -> Iterator[_Item]:
        for done, item in enumerate(_read_ahead(source, jobs, earlier, identify, fit, batch_size), start=1):
            if isinstance(item, UserError):
                problems.append(str(item))
            # After the first unreadable record the run is going to fail: the rest is only looked through.
            elif skip_unreadable or not problems:
                yield item
            if done % batch_size == 0 or done == len(jobs):
                progress.update(done, **{"pictures/s": done / max(time.monotonic() - began, 1e-6)})

    with display("Encoding", len(jobs)) as progress:
        for batch in _batches_of_one_shape(readable(), batch_size, vae.downscale_factor):
            rows = _encode(batch, vae, text_encoder, writer.dtype)
            records = [item.record for item in batch]
            latents = torch.stack([row.latents for row in rows])
            prompt_tokens = [tokens for row in rows for tokens in row.prompt_tokens]
            writer.write(
                records,
                latents,
                torch.cat([row.prompt_embeds for row in rows]),
                prompt_tokens,
                [item.content for item in batch],
            )
            if moments is not None:
                moments.add(latents)
            findings.add(records, prompt_tokens, sum(isinstance(item.found, Stored) for item in batch))
            for item in batch:
                findings.note(item.notices, item.record.key)
    _raise_or_warn(problems, len(jobs), skip_unreadable)
    if not findings.encoded:
        raise UserError("The data set is empty: there is no record that can be read, and training needs at least one.")
    findings.say()
    if moments is not None:
        writer.statistics = moments.statistics()
    seconds = time.monotonic() - began
    return CacheBuild(findings.encoded, findings.reused, len(problems), findings.cut_prompts, seconds)


def _raise_or_warn(problems: Sequence[str], total: int, skip_unreadable: bool) -> None:
    if problems and not skip_unreadable:
        listed = "\n  ".join(problems[:LISTED_PROBLEMS])
        more = f"\n  ... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
        raise UserError(
            f"{len(problems)} of {total} records cannot be read:\n  {listed}{more}\n"
            "Mend them, or go on without them with data.skip_unreadable=true."
        )
    if problems:
        logger.warning(
            "Going on without %d of %d records that cannot be read, e.g. %s", len(problems), total, problems[0]
        )


def _encode(batch: Sequence[_Item], vae: VAE, text_encoder: TextEncoder, dtype: torch.dtype) -> list[Stored]:
    """What the cache is to hold of each record, those that an earlier one holds left as they are."""
    images = [item.found for item in batch if isinstance(item.found, Tensor)]
    if not images:
        return [item.found for item in batch if isinstance(item.found, Stored)]
    latents = iter(vae.encode(torch.stack(images)).detach().to("cpu", dtype))
    new = [item.record for item in batch if isinstance(item.found, Tensor)]
    prompt_embeds, lengths = text_encoder.encode([prompt for record in new for prompt in record.prompts])
    prompt_embeds = prompt_embeds.detach().to("cpu", dtype)
    rows = []
    first = 0
    for item in batch:
        if isinstance(item.found, Stored):
            rows.append(item.found)
            continue
        prompts = slice(first, first + len(item.record.prompts))
        rows.append(Stored(next(latents), prompt_embeds[prompts], lengths[prompts], item.record.picture or ""))
        first = prompts.stop
    return rows


def _batches_of_one_shape(items: Iterable[_Item], batch_size: int, downscale_factor: int) -> Iterator[list[_Item]]:
    waiting: dict[tuple[int, int], list[_Item]] = {}
    for item in items:
        if isinstance(item.found, Stored):
            height, width = (downscale_factor * side for side in item.found.latents.shape[1:])
        else:
            height, width = item.found.shape[1:]
        batch = waiting.setdefault((height, width), [])
        batch.append(item)
        if len(batch) == batch_size:
            yield waiting.pop((height, width))
    yield from waiting.values()


def _read_ahead(
    source: Source,
    jobs: list[tuple[int, bool]],
    earlier: EarlierRows,
    identify: Callable[[Record], str],
    fit: Fit,
    batch_size: int,
) -> Iterator[_Item | UserError]:
    """Records with their images, or with what an earlier cache holds, or what is wrong with them."""

    def read(job: tuple[int, bool]) -> _Item | UserError:
        index, flip = job
        record = source[index]
        prompts: dict[str, float] = {}
        for prompt, weight in ({record.prompt: 1.0} if record.prompts is None else record.prompts).items():
            prompts[normalised(prompt)] = prompts.get(normalised(prompt), 0.0) + weight
        kept = CachedRecord(record.key, list(prompts), record.split, flip, list(prompts.values()))
        try:
            identity = identify(record)
            content = hashlib.sha256(json.dumps([identity, kept.prompts, flip]).encode()).digest()[:16]
            if (stored := earlier.find(content)) is not None:
                return _Item(replace(kept, picture=stored.picture), content, stored)
            try:
                loaded = record.load()
            finally:
                identify(record)  # it may have been changed meanwhile, which explains whatever is wrong with it
        except UserError as error:
            return error
        try:
            size = fit(loaded.width, loaded.height)
            covering = cover(loaded, *size)
        except UserError as error:
            return UserError(f"record {record.key!r} {error}")
        kept = replace(kept, picture=picture_digest(covering))
        picture = cut_centre(covering, *size)
        return _Item(kept, content, to_tensor(ImageOps.mirror(picture) if flip else picture), notices_of(loaded))

    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(read, job) for job in batches[0]] if batches else []
        for following in [*batches[1:], []]:
            current, waiting = waiting, [pool.submit(read, job) for job in following]
            for future in current:
                yield future.result()
