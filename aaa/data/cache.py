"""The latent cache: pictures and prompts encoded once, read back by every later run through memory maps.

A cache is a folder of safetensors shards with an index; its name ends in the hash of everything that shaped
it. It is built aside and renamed when whole, so what has a cache's name is a whole cache.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aaa.data.pictures import crop_and_resize, to_tensor
from aaa.data.records import Source, Split
from aaa.encoders.protocols import VAE, TextEncoder
from aaa.errors import UserError
from aaa.tracking.console import display

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 * 2**20
LISTED_PROBLEMS = 20
FORMAT = 1


@dataclass(frozen=True)
class CachedRecord:
    """What is kept of a record beside its tensors; `flipped` marks the mirrored copy of the record with its key."""

    key: str
    prompt: str
    split: Split | None
    flipped: bool = False


class LatentCache:
    """A built cache, opened.

    Attributes:
        path: its folder.
        records: what is known of each record, in order.
        latent_shape: `C H W` of each record's latents.
        prompt_shape: `L D` of each record's prompt_embeds.
        empty_prompt_embeds: of the empty prompt, `L D`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._open()
        except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            raise UserError(
                f"{path}: the latent cache is damaged ({type(error).__name__}: {error}). "
                "Delete the folder; it is built again by itself."
            ) from error

    def _open(self) -> None:
        index = json.loads((self.path / "index.json").read_text(encoding="utf-8"))
        self.fingerprint: str = index["fingerprint"]
        self.latent_shape: tuple[int, int, int] = tuple(index["latent_shape"])
        self.prompt_shape: tuple[int, int] = tuple(index["prompt_shape"])
        with (self.path / "records.jsonl").open(encoding="utf-8") as lines:
            self.records = [CachedRecord(**json.loads(line)) for line in lines]
        shards = [safe_open(self.path / name, "pt") for name in index["shards"]]
        self._latents = [shard.get_tensor("latents") for shard in shards]
        self._prompt_embeds = [shard.get_tensor("prompt_embeds") for shard in shards]
        empty = safe_open(self.path / "empty_prompt.safetensors", "pt")
        self.empty_prompt_embeds = empty.get_tensor("prompt_embeds")[0]
        counts = torch.tensor([len(latents) for latents in self._latents])
        self._ends = counts.cumsum(0)
        self._starts = self._ends - counts
        if int(self._ends[-1]) != len(self.records):
            raise ValueError(f"{len(self.records)} records, {int(self._ends[-1])} latents")

    def __len__(self) -> int:
        return len(self.records)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, `B C H W`, and prompt_embeds, `B L D`, of the records with these indices, as float32."""
        shards = torch.searchsorted(self._ends, indices, right=True)
        latents = torch.empty(len(indices), *self.latent_shape)
        prompt_embeds = torch.empty(len(indices), *self.prompt_shape)
        for shard in shards.unique().tolist():
            rows = (shards == shard).nonzero()[:, 0]
            local = indices[rows] - self._starts[shard]
            latents[rows] = self._latents[shard][local].float()
            prompt_embeds[rows] = self._prompt_embeds[shard][local].float()
        return latents, prompt_embeds


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
    resolution: int,
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
        resolution: height and width that pictures are fitted to.
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
                build = _encode_all(
                    writer, source, *encoders(), resolution, horizontal_flip, skip_unreadable, batch_size
                )
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
    resolution: int,
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
    encoded = cut_prompts = 0
    empty, _ = text_encoder.encode([""])
    writer.write_empty_prompt(empty)
    with display("Encoding", len(jobs)) as progress:
        done = 0
        for batch in _read_ahead(source, jobs, resolution, batch_size):
            done += len(batch)
            whole = [(record, image) for record, image in batch if isinstance(image, Tensor)]
            problems += [str(image) for _, image in batch if isinstance(image, UserError)]
            # After the first unreadable record the run is going to fail: the rest is only looked through.
            if whole and (skip_unreadable or not problems):
                records = [record for record, _ in whole]
                latents = vae.encode(torch.stack([image for _, image in whole]))
                prompt_embeds, lengths = text_encoder.encode([record.prompt for record in records])
                cut_prompts += sum(length > text_encoder.max_length for length in lengths)
                writer.write(records, latents, prompt_embeds)
                encoded += len(records)
            progress.update(done, **{"pictures/s": done / max(time.monotonic() - began, 1e-6)})
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
    return CacheBuild(encoded, len(problems), cut_prompts, time.monotonic() - began)


def _read_ahead(
    source: Source, jobs: list[tuple[int, bool]], resolution: int, batch_size: int
) -> Iterator[list[tuple[CachedRecord, Tensor | UserError]]]:
    """Batches of records with their images, `3 H W` in -1..1, or what is wrong with them."""

    def read(job: tuple[int, bool]) -> tuple[CachedRecord, Tensor | UserError]:
        index, flip = job
        record = source[index]
        kept = CachedRecord(record.key, record.prompt, record.split, flip)
        try:
            loaded = record.load()
        except UserError as error:
            return kept, error
        try:
            picture = crop_and_resize(loaded, resolution, resolution)
        except UserError as error:
            return kept, UserError(f"record {record.key!r} {error}")
        return kept, to_tensor(ImageOps.mirror(picture) if flip else picture)

    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(read, job) for job in batches[0]] if batches else []
        for following in [*batches[1:], []]:
            current, waiting = waiting, [pool.submit(read, job) for job in following]
            yield [future.result() for future in current]


class _Writer:
    """Writes shards of up to `SHARD_BYTES`, so that memory stays flat whatever the number of records."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path, self.dtype = path, dtype
        self._latents: list[Tensor] = []
        self._prompt_embeds: list[Tensor] = []
        self._bytes = 0
        self._shards: list[str] = []
        self._shapes: dict[str, list[int]] = {}
        self._records = (path / "records.jsonl").open("w", encoding="utf-8")

    def write_empty_prompt(self, prompt_embeds: Tensor) -> None:
        save_file({"prompt_embeds": self._stored(prompt_embeds)}, self.path / "empty_prompt.safetensors")

    def write(self, records: Sequence[CachedRecord], latents: Tensor, prompt_embeds: Tensor) -> None:
        for record in records:
            self._records.write(json.dumps(asdict(record)) + "\n")
        self._latents.append(self._stored(latents))
        self._prompt_embeds.append(self._stored(prompt_embeds))
        self._shapes = {"latent_shape": list(latents.shape[1:]), "prompt_shape": list(prompt_embeds.shape[1:])}
        self._bytes += self._latents[-1].nbytes + self._prompt_embeds[-1].nbytes
        if self._bytes >= SHARD_BYTES:
            self._flush()

    def close(self, **index: Any) -> None:
        self._flush()
        self._records.close()
        content = {"format": FORMAT, **index, **self._shapes, "shards": self._shards}
        (self.path / "index.json").write_text(json.dumps(content, indent=2), encoding="utf-8")

    def _flush(self) -> None:
        if not self._latents:
            return
        name = f"shard-{len(self._shards):05d}.safetensors"
        tensors = {"latents": torch.cat(self._latents), "prompt_embeds": torch.cat(self._prompt_embeds)}
        save_file(tensors, self.path / name)
        self._shards.append(name)
        self._latents, self._prompt_embeds, self._bytes = [], [], 0

    def _stored(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to("cpu", self.dtype).contiguous()
