"""Encoding records into a latent cache: each read, fitted, encoded and written down, once.

What other caches of the same encoders hold already is taken over.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from PIL import ImageOps
from torch import Tensor

from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.data.duplicates import picture_digest
from aaa.data.findings import Findings
from aaa.data.in_order import in_order
from aaa.data.listed import listed
from aaa.data.pictures import MUCH_ENLARGED, cover, cut_centre, is_much_enlarged, notices_of, to_images, to_pixels
from aaa.data.records import Record, Source
from aaa.data.reuse import EarlierRows, Stored
from aaa.encoders.embedding import embed
from aaa.encoders.prompts import normalised
from aaa.encoders.protocols import VAE, NormalisesLatents, TextEncoder
from aaa.encoders.statistics import Moments
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from aaa.tracking.console import display

logger = logging.getLogger(__name__)

Fit = Callable[[int, int], tuple[int, int]]  # width and height of a picture -> height and width to cut it to
Job = tuple[int, bool]  # a record of the source, and whether it is to be mirrored

PIXELS_AT_ONCE = 2**22  # of a batch: 48 MiB as they are encoded, a quarter of it as they wait
WINDOW = 4  # batches; a picture waits no longer for others of its shape
UPDATES = 16  # of what is said to be done, for each batch


def batch_that_fits(batch_size: int, resolution: int) -> int:
    """How many pictures of this resolution are encoded at once: `batch_size`, or fewer where they are large."""
    return max(min(batch_size, PIXELS_AT_ONCE // resolution**2), 1)


@dataclass(frozen=True)
class Pictures:
    """What is to be encoded.

    Attributes:
        source: the records.
        identify: tells pictures apart: the same text for the same picture; raises UserError if its file is no longer
            what the fingerprint is of.
        fit: which size a picture is cut to, by its own.
        horizontal_flip: also cache each training picture mirrored.
        skip_unreadable: leave out records that cannot be read, instead of failing.
        batch_size: pictures encoded at once.
    """

    source: Source
    identify: Callable[[Record], str]
    fit: Fit
    horizontal_flip: bool
    skip_unreadable: bool
    batch_size: int

    def jobs(self) -> list[Job]:
        """Every picture, then every mirrored one."""
        plain = [(index, False) for index in range(len(self.source))]
        if not self.horizontal_flip:
            return plain
        return plain + [(index, True) for index, _ in plain if self.source[index].split != "validation"]


@dataclass(frozen=True)
class _Item:
    """A record on its way into the cache.

    Attributes:
        record: as it is to be kept.
        content: 16 bytes that tell what it is made from.
        found: its pixels, `3 H W` uint8, or what an earlier cache holds of it.
        notices: what its owner should know of how the picture was read.
    """

    record: CachedRecord
    content: bytes
    found: Tensor | Stored
    notices: Sequence[str]


@dataclass(frozen=True)
class _Row:
    """A record as it goes into the cache.

    Attributes:
        record, content, notices: as `_Item` has them.
        stored: its latents and prompt_embeds.
        reused: whether an earlier cache held these.
    """

    record: CachedRecord
    content: bytes
    notices: Sequence[str]
    stored: Stored
    reused: bool


@dataclass(frozen=True)
class CacheBuild:
    """Counts and times of building a cache.

    Attributes:
        records: all of them.
        reused: those that were taken over from earlier caches.
        skipped: those that could not be read.
        cut_prompts: prompts with more tokens than are kept.
        seconds: that it took.
        notices: pictures of which their owner should know each thing, mirrored copies not counted.
    """

    records: int
    reused: int
    skipped: int
    cut_prompts: int
    seconds: float
    notices: dict[str, int]


def encode_all(
    writer: CacheWriter,
    pictures: Pictures,
    jobs: Sequence[Job],
    vae: VAE,
    text_encoder: TextEncoder,
    earlier: EarlierRows,
) -> CacheBuild:
    """Encode pictures into the writer, the next batch of files being read meanwhile.

    What is written does not depend on the size of a batch, but for what a VAE itself makes of it.

    Raises:
        UserError: if records cannot be read; all are named at once, when the others are encoded. Or if the disk has no
            room for the cache.
    """
    began = time.monotonic()
    problems: dict[int, str] = {}  # of a record and its mirrored picture one
    findings = Findings(text_encoder.max_length, isinstance(text_encoder, WordEmbedding))
    moments = Moments() if isinstance(vae, NormalisesLatents) and vae.statistics is None else None
    empty, lengths = embed(text_encoder, [""])
    writer.write_empty_prompt(empty, max(lengths))
    update_every = -(-pictures.batch_size // UPDATES)

    def readable() -> Generator[_Item, None, None]:
        for done, item in enumerate(_read_ahead(pictures, jobs, earlier), start=1):
            if isinstance(item, _Item):
                yield item
            else:
                if not problems and not pictures.skip_unreadable:
                    logger.warning("The first record that cannot be read: %s. The others are encoded first.", item)
                problems.setdefault(jobs[done - 1][0], str(item))
            if done % update_every == 0 or done == len(jobs):
                progress.update(done, **{"pictures/s": done / max(time.monotonic() - began, 1e-6)})

    with display("Encoding", len(jobs)) as progress, closing(readable()) as items:
        batches = _batches_of_one_shape(items, pictures.batch_size, vae.downscale_factor)
        for row in _in_order_of_records(batches, lambda batch: _encode(batch, vae, text_encoder, writer.dtype)):
            stored = row.stored
            latents = stored.latents[None]
            tokens = stored.prompt_tokens
            writer.write([row.record], latents, stored.prompt_embeds, tokens, [row.content], [row.notices])
            if moments is not None:
                moments.add(latents)
            findings.add([row.record], tokens, row.reused)
            if not row.record.flipped:
                findings.note(row.notices, row.record.key)
            if findings.encoded == pictures.batch_size:
                writer.require_room(len(jobs))
    _raise_or_warn([*problems.values()], len({index for index, _ in jobs}), pictures.skip_unreadable)
    findings.say()
    if moments is not None and findings.encoded:
        writer.statistics = moments.statistics()
    seconds = time.monotonic() - began
    notices = dict(findings.noticed)
    return CacheBuild(findings.encoded, findings.reused, len(problems), findings.cut_prompts, seconds, notices)


def _raise_or_warn(problems: Sequence[str], total: int, skip_unreadable: bool) -> None:
    if problems and not skip_unreadable:
        raise UserError(
            f"{len(problems)} of {total} records cannot be read:\n  {listed(problems)}\n"
            "Mend them, or go on without them with data.skip_unreadable=true."
        )
    if problems:
        logger.warning(
            "Going on without %d of %d records that cannot be read, e.g. %s", len(problems), total, problems[0]
        )


def _encode(batch: Sequence[_Item], vae: VAE, text_encoder: TextEncoder, dtype: torch.dtype) -> list[Stored]:
    """What the cache is to hold of each record, those that an earlier one holds left as they are."""
    pixels = [item.found for item in batch if isinstance(item.found, Tensor)]
    if not pixels:
        return [item.found for item in batch if isinstance(item.found, Stored)]
    latents = iter(vae.encode(to_images(torch.stack(pixels))).detach().to("cpu", dtype))
    new = [item.record for item in batch if isinstance(item.found, Tensor)]
    prompt_embeds, lengths = embed(text_encoder, [prompt for record in new for prompt in record.prompts])
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


def _batches_of_one_shape(
    items: Iterable[_Item], batch_size: int, downscale_factor: int
) -> Iterator[list[tuple[int, _Item]]]:
    """Items that are encoded together, with their numbers."""
    waiting: dict[tuple[int, int], list[tuple[int, _Item]]] = {}
    for number, item in enumerate(items):
        if isinstance(item.found, Stored):
            height, width = (downscale_factor * side for side in item.found.latents.shape[1:])
        else:
            height, width = item.found.shape[1:]
        batch = waiting.setdefault((height, width), [])
        batch.append((number, item))
        if len(batch) == batch_size:
            yield waiting.pop((height, width))
        if (number + 1) % (WINDOW * batch_size) == 0:
            while waiting:
                yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def _in_order_of_records(
    batches: Iterable[list[tuple[int, _Item]]], encode: Callable[[Sequence[_Item]], list[Stored]]
) -> Iterator[_Row]:
    """What is made of items, in the order of their numbers, of which batches of several shapes have some of each."""
    done: dict[int, _Row] = {}
    following = 0
    for batch in batches:
        for (number, item), stored in zip(batch, encode([item for _, item in batch]), strict=True):
            reused = isinstance(item.found, Stored)
            done[number] = _Row(item.record, item.content, item.notices, stored, reused)
        while following in done:
            yield done.pop(following)
            following += 1


def _read_ahead(pictures: Pictures, jobs: Sequence[Job], earlier: EarlierRows) -> Iterator[_Item | UserError]:
    """Records with their images, or with what an earlier cache holds, or what is wrong with them."""
    identify = pictures.identify

    def read(job: Job) -> _Item | UserError:
        index, flip = job
        record = pictures.source[index]
        prompts: dict[str, float] = {}
        for prompt, weight in ({record.prompt: 1.0} if record.prompts is None else record.prompts).items():
            prompts[normalised(prompt)] = prompts.get(normalised(prompt), 0.0) + weight
        kept = CachedRecord(record.key, list(prompts), record.split, flip, list(prompts.values()))
        try:
            identity = identify(record)
            content = hashlib.sha256(json.dumps([identity, kept.prompts, flip]).encode()).digest()[:16]
            if (stored := earlier.find(content)) is not None:
                return _Item(replace(kept, picture=stored.picture), content, stored, stored.notices)
            try:
                loaded = record.load()
            finally:  # it may have been changed meanwhile, which explains whatever is wrong with it
                if identify(record) != identity:
                    raise UserError(
                        f"record {record.key!r} was changed while the data was being read. Start again when it is whole"
                    )
        except UserError as error:
            return error
        try:
            size = pictures.fit(loaded.width, loaded.height)
            covering = cover(loaded, *size)
        except UserError as error:
            return UserError(f"record {record.key!r} {error}")
        kept = replace(kept, picture=picture_digest(covering))
        picture = cut_centre(covering, *size)
        notices = [*notices_of(loaded), *([MUCH_ENLARGED] if is_much_enlarged(loaded, covering) else [])]
        return _Item(kept, content, to_pixels(ImageOps.mirror(picture) if flip else picture), notices)

    yield from in_order(read, jobs, pictures.batch_size)
