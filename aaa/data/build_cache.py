"""Building a latent cache: every record read, fitted, encoded and written down, once.

It is built aside and renamed when whole, so what has a cache's name is a whole cache.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import ImageOps
from safetensors.torch import save_file
from torch import Tensor

from aaa.data.cache import CachedRecord, LatentCache
from aaa.data.pictures import crop_and_resize, to_tensor
from aaa.data.records import Source
from aaa.encoders.protocols import VAE, NormalisesLatents, TextEncoder
from aaa.encoders.statistics import LatentStatistics, Moments
from aaa.errors import UserError
from aaa.tracking.console import display

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 * 2**20
LISTED_PROBLEMS = 20
FORMAT = 3

Fit = Callable[[int, int], tuple[int, int]]  # width and height of a picture -> height and width to cut it to
Loaded = tuple[CachedRecord, Tensor]


@dataclass(frozen=True)
class CacheBuild:
    """Counts and times of building a cache."""

    records: int
    skipped: int
    cut_prompts: int
    seconds: float


def open_or_build(
    path: Path,
    source: Source,
    encoders: Callable[[], tuple[VAE, TextEncoder]],
    *,
    fingerprint: str,
    fit: Fit,
    horizontal_flip: bool,
    skip_unreadable: bool,
    storage_dtype: torch.dtype,
    batch_size: int,
    origin: dict[str, Any],
) -> LatentCache:
    """Open the cache at `path`, building it first if it is not there.

    Of several processes one builds while the others wait; if it dies, another takes over.

    Args:
        path: the cache's folder.
        source: the records.
        encoders: gives the VAE and the text encoder; called only if there is something to build.
        fingerprint: hash of everything that shapes the cache, kept in its index.
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
    if (path / "index.json").is_file():
        return LatentCache(path)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is building the latent cache %s; waiting for it.", path)
        lock.acquire()
    try:
        if not (path / "index.json").is_file():
            building = path.with_name(f"{path.name}.building")
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            try:
                writer = _Writer(building, storage_dtype)
                build = _encode_all(writer, source, *encoders(), fit, horizontal_flip, skip_unreadable, batch_size)
                writer.close(fingerprint=fingerprint, build=asdict(build), origin=origin)
                building.rename(path)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    finally:
        lock.release()
    return LatentCache(path)


def _encode_all(
    writer: "_Writer",
    source: Source,
    vae: VAE,
    text_encoder: TextEncoder,
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
    encoded = cut_prompts = empty_prompts = 0
    moments = Moments() if isinstance(vae, NormalisesLatents) and vae.statistics is None else None
    empty, lengths = text_encoder.encode([""])
    writer.write_empty_prompt(empty)
    writer.longest_prompt = max(lengths)

    def readable() -> Iterator[Loaded]:
        for done, (record, image) in enumerate(_read_ahead(source, jobs, fit, batch_size), start=1):
            if isinstance(image, UserError):
                problems.append(str(image))
            # After the first unreadable record the run is going to fail: the rest is only looked through.
            elif skip_unreadable or not problems:
                yield record, image
            if done % batch_size == 0 or done == len(jobs):
                progress.update(done, **{"pictures/s": done / max(time.monotonic() - began, 1e-6)})

    with display("Encoding", len(jobs)) as progress:
        for batch in _batches_of_one_shape(readable(), batch_size):
            records = [record for record, _ in batch]
            latents = vae.encode(torch.stack([image for _, image in batch]))
            if moments is not None:
                moments.add(latents)
            prompts = [prompt for record in records for prompt in record.prompts]
            prompt_embeds, lengths = text_encoder.encode(prompts)
            writer.longest_prompt = max(writer.longest_prompt, *lengths)
            cut_prompts += sum(length > text_encoder.max_length for length in lengths)
            writer.write(records, latents, prompt_embeds)
            encoded += len(records)
            empty_prompts += sum(not record.prompt.strip() for record in records)
    if problems and not skip_unreadable:
        listed = "\n  ".join(problems[:LISTED_PROBLEMS])
        more = f"\n  ... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
        raise UserError(
            f"{len(problems)} of {len(jobs)} records cannot be read:\n  {listed}{more}\n"
            "Mend them, or go on without them with data.skip_unreadable=true."
        )
    if problems:
        logger.warning(
            "Going on without %d of %d records that cannot be read, e.g. %s", len(problems), len(jobs), problems[0]
        )
    if not encoded:
        raise UserError("The data set is empty: there is no record that can be read, and training needs at least one.")
    if cut_prompts:
        logger.warning(
            "%d of %d prompts are longer than %d tokens and were cut; encoder.max_prompt_tokens=N keeps more.",
            cut_prompts,
            encoded,
            text_encoder.max_length,
        )
    if empty_prompts:
        logger.warning("%d of %d records have an empty prompt.", empty_prompts, encoded)
    if moments is not None:
        writer.statistics = moments.statistics()
    return CacheBuild(encoded, len(problems), cut_prompts, time.monotonic() - began)


def _batches_of_one_shape(pictures: Iterable[Loaded], batch_size: int) -> Iterator[list[Loaded]]:
    waiting: dict[torch.Size, list[Loaded]] = {}
    for record, image in pictures:
        batch = waiting.setdefault(image.shape, [])
        batch.append((record, image))
        if len(batch) == batch_size:
            yield waiting.pop(image.shape)
    yield from waiting.values()


def _read_ahead(
    source: Source, jobs: list[tuple[int, bool]], fit: Fit, batch_size: int
) -> Iterator[tuple[CachedRecord, Tensor | UserError]]:
    """Records with their images, `3 H W` in -1..1, or what is wrong with them."""

    def read(job: tuple[int, bool]) -> tuple[CachedRecord, Tensor | UserError]:
        index, flip = job
        record = source[index]
        prompts = {record.prompt: 1.0} if record.prompts is None else record.prompts
        kept = CachedRecord(record.key, list(prompts), record.split, flip, list(prompts.values()))
        try:
            loaded = record.load()
        except UserError as error:
            return kept, error
        try:
            picture = crop_and_resize(loaded, *fit(loaded.width, loaded.height))
        except UserError as error:
            return kept, UserError(f"record {record.key!r} {error}")
        return kept, to_tensor(ImageOps.mirror(picture) if flip else picture)

    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(read, job) for job in batches[0]] if batches else []
        for following in [*batches[1:], []]:
            current, waiting = waiting, [pool.submit(read, job) for job in following]
            for future in current:
                yield future.result()


@dataclass
class _Shard:
    """Records with latents of one shape, waiting to be written."""

    records: list[CachedRecord] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    prompt_embeds: list[Tensor] = field(default_factory=list)
    bytes: int = 0


class _Writer:
    """Writes shards of up to `SHARD_BYTES`, so that memory stays flat whatever the number of records."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path, self.dtype = path, dtype
        self.statistics: LatentStatistics | None = None
        self.longest_prompt = 0
        self._waiting: dict[torch.Size, _Shard] = {}
        self._shards: list[str] = []
        self._prompt_shape: list[int] = []
        self._records = (path / "records.jsonl").open("w", encoding="utf-8")

    def write_empty_prompt(self, prompt_embeds: Tensor) -> None:
        save_file({"prompt_embeds": self._stored(prompt_embeds)}, self.path / "empty_prompt.safetensors")
        self._prompt_shape = list(prompt_embeds.shape[1:])

    def write(self, records: Sequence[CachedRecord], latents: Tensor, prompt_embeds: Tensor) -> None:
        shard = self._waiting.setdefault(latents.shape[1:], _Shard())
        shard.records += records
        shard.latents.append(self._stored(latents))
        shard.prompt_embeds.append(self._stored(prompt_embeds))
        shard.bytes += shard.latents[-1].nbytes + shard.prompt_embeds[-1].nbytes
        if sum(shard.bytes for shard in self._waiting.values()) >= SHARD_BYTES:
            self._flush(max(self._waiting, key=lambda shape: self._waiting[shape].bytes))

    def close(self, **index: Any) -> None:
        for shape in list(self._waiting):
            self._flush(shape)
        self._records.close()
        content = {
            "format": FORMAT,
            **index,
            "prompt_shape": self._prompt_shape,
            "longest_prompt": self.longest_prompt,
            "statistics": None if self.statistics is None else asdict(self.statistics),
            "shards": self._shards,
        }
        (self.path / "index.json").write_text(json.dumps(content, indent=2), encoding="utf-8")

    def _flush(self, shape: torch.Size) -> None:
        shard = self._waiting.pop(shape)
        name = f"shard-{len(self._shards):05d}.safetensors"
        tensors = {"latents": torch.cat(shard.latents), "prompt_embeds": torch.cat(shard.prompt_embeds)}
        save_file(tensors, self.path / name)
        self._records.writelines(json.dumps(asdict(record)) + "\n" for record in shard.records)
        self._shards.append(name)

    def _stored(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to("cpu", self.dtype).contiguous()
