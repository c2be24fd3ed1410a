"""Writing a latent cache: shards of tensors, each written by a thread of its own while the next is encoded."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors import SafetensorError
from torch import Tensor

from aaa.data.cache_folder import EMPTY_PROMPT, INDEX, NOTICES, RECORDS
from aaa.data.cached_records import SCHEMA, ArrowRecords, CachedRecord, as_batch
from aaa.data.file_hash import sha256_of
from aaa.data.picture_places import PLACES, SIDES, PlacedRecords
from aaa.data.tensor_files import save_tensors
from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError, reason

SHARD_BYTES = 256 * 2**20
MARGIN = 1.05  # of the room that a cache is thought to take
LARGE = 100_000  # records from which on a cache is split and ordered by formula, and not by lists of them all


@dataclass
class _Shard:
    """Records with latents of one shape, waiting to be written."""

    records: list[CachedRecord] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    prompt_embeds: list[Tensor] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    notices: dict[str, list[int]] = field(default_factory=dict)  # of each, the rows that have it
    bytes: int = 0


class CacheWriter:
    """Writes shards of up to `SHARD_BYTES`, so that memory stays flat whatever the number of records.

    A shard says itself what its rows were made from (`content`) and what there is to know of their pictures, so that
    a later build can take them over from a folder that was never finished.

    Args:
        path: a folder that exists.
        dtype: of latents and prompt_embeds on disk.
        recipe: hash of everything but the records that shapes a cache.
    """

    def __init__(self, path: Path, dtype: torch.dtype, recipe: str) -> None:
        self.path, self.dtype = path, dtype
        self.statistics: LatentStatistics | None = None
        self.longest_prompt = self.most_prompts = 0
        self._count = self._bytes = self._saved = 0  # records, what they take, and those that are on disk
        self._waiting: dict[torch.Size, _Shard] = {}
        self._shards: list[str] = []
        self._digests: dict[str, str] = {}
        self._prompt_shape: list[int] = []
        self._records = pa.ipc.new_file(str(path / RECORDS), SCHEMA)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache")
        self._being_written: Future[None] | None = None
        (path / "recipe").write_text(recipe, encoding="utf-8")

    def write_empty_prompt(self, prompt_embeds: Tensor, tokens: int) -> None:
        """Keep the embeddings of the empty prompt, `1 L D`, which has so many tokens."""
        save_tensors({"prompt_embeds": self._stored(prompt_embeds)}, self.path / EMPTY_PROMPT)
        self._prompt_shape = list(prompt_embeds.shape[1:])
        self.longest_prompt = max(self.longest_prompt, tokens)

    def write(
        self,
        records: Sequence[CachedRecord],
        latents: Tensor,
        prompt_embeds: Tensor,
        prompt_tokens: Sequence[int],
        contents: Sequence[bytes],
        notices: Sequence[Sequence[str]] = (),
    ) -> None:
        """Add records.

        Args:
            records: what is kept of each.
            latents: `B C H W`.
            prompt_embeds: of every prompt of the first record, then of the second, ..., `P L D`.
            prompt_tokens: of each of these prompts, those that were cut off included.
            contents: 16 bytes that tell what each record was made from.
            notices: what the owner of each picture should know of how it was read.
        """
        shard = self._waiting.setdefault(latents.shape[1:], _Shard())
        for row, found in enumerate(notices, start=len(shard.records)):
            for notice in found:
                shard.notices.setdefault(notice, []).append(row)
        shard.records += records
        shard.latents.append(self._stored(latents))
        shard.prompt_embeds.append(self._stored(prompt_embeds))
        added = shard.latents[-1].nbytes + shard.prompt_embeds[-1].nbytes
        shard.prompt_tokens += prompt_tokens
        shard.contents += contents
        shard.bytes += added
        self._bytes += added
        self._count += len(records)
        self.longest_prompt = max(self.longest_prompt, *prompt_tokens)
        self.most_prompts = max(self.most_prompts, *(len(record.prompts) for record in records))
        if sum(shard.bytes for shard in self._waiting.values()) >= SHARD_BYTES:
            self._flush(max(self._waiting, key=lambda shape: self._waiting[shape].bytes))

    def require_room(self, total: int) -> None:
        """Refuse a disk that will not take so many records like those that were added, before they are encoded.

        Raises:
            UserError: naming what there is and what they take.
        """
        needed = self._bytes / self._count * total
        written = self._bytes - sum(shard.bytes for shard in self._waiting.values())
        free = shutil.disk_usage(self.path).free
        if free < MARGIN * needed - written:
            raise UserError(
                f"{self.path}: the disk has {free / 2**30:.2f} GiB free, and the latent cache of {total} records takes "
                f"about {needed / 2**30:.2f} GiB. Make room, or let it be elsewhere with data.cache_dir=FOLDER."
            )

    def close(self, **index: Any) -> None:
        """Write what is left, and the index that makes the folder a cache."""
        self.keep_what_is_done()
        placed = self._saved > LARGE
        if placed:
            PlacedRecords.of(ArrowRecords([self.path / RECORDS]).batches).save(self.path)
        beside = [RECORDS, EMPTY_PROMPT, *([PLACES, SIDES] if placed else [])]
        self._digests |= {name: sha256_of(self.path / name) for name in beside}
        content = {
            **index,
            "prompt_shape": self._prompt_shape,
            "longest_prompt": self.longest_prompt,
            "most_prompts": self.most_prompts,
            "statistics": None if self.statistics is None else asdict(self.statistics),
            "shards": self._shards,
            "records": [RECORDS],
            "placed": placed,
            "sha256": self._digests,
        }
        (self.path / INDEX).write_text(json.dumps(content, indent=2), encoding="utf-8")

    def keep_what_is_done(self) -> None:
        """Write what is left, so that a later build need not encode it again."""
        try:
            for shape in list(self._waiting):
                self._flush(shape)
            self.wait()
        finally:
            self._thread.shutdown()
            self._records.close()

    def _flush(self, shape: torch.Size) -> None:
        self.wait()  # one shard being filled, one being written: no more are held
        shard = self._waiting.pop(shape)
        name = f"shard-{len(self._shards):05d}.safetensors"
        self._shards.append(name)
        self._being_written = self._thread.submit(self._save, name, shard)

    def wait(self) -> None:
        """Wait until what is being written is on disk."""
        if self._being_written is not None:
            self._being_written.result()

    def _save(self, name: str, shard: _Shard) -> None:
        tensors = {
            "latents": _joined(shard.latents),
            "prompt_embeds": _joined(shard.prompt_embeds),
            "prompt_counts": torch.tensor([len(record.prompts) for record in shard.records]),
            "prompt_tokens": torch.tensor(shard.prompt_tokens),
            "content": _as_rows(shard.contents),
            "picture": _as_rows([bytes.fromhex(record.picture or "00" * 16) for record in shard.records]),
        }
        metadata = {NOTICES: json.dumps(shard.notices)} if shard.notices else None
        aside = self.path / f"{name}.tmp"
        try:
            save_tensors(tensors, aside, metadata)
            self._digests[name] = sha256_of(aside)
            aside.replace(self.path / name)
            self._records.write_batch(as_batch(shard.records))
            self._saved += len(shard.records)
        except (OSError, SafetensorError) as error:
            kept = f" The {self._saved} records written already are not encoded again." if self._saved else ""
            raise UserError(
                f"{self.path}: the latent cache cannot be written ({reason(error)}). Make room there, or let "
                f"it be elsewhere with data.cache_dir=FOLDER.{kept}"
            ) from None
        finally:
            aside.unlink(missing_ok=True)

    def _stored(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to("cpu", self.dtype).contiguous()


def _joined(tensors: list[Tensor]) -> Tensor:
    """All of them as one; the list is emptied, so that they are not held twice while they are written."""
    joined = torch.cat(tensors)
    tensors.clear()
    return joined


def _as_rows(digests: Sequence[bytes]) -> Tensor:
    return torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(-1, 16)
