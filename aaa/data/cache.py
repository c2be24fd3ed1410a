"""The latent cache: pictures and prompts encoded once, read back by every later run through memory maps.

A cache is a folder of safetensors shards with an index; its name ends in the hash of everything that shaped
it. `aaa.data.build_cache` makes them.
"""

import glob
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.cache_folder import CacheFolder, ShapeIds, open_folder
from aaa.data.grouped_order import ShardGroups
from aaa.errors import UserError

TOKENS_MULTIPLE = 8  # GPUs multiply matrices of such sizes faster


class LatentCache:
    """A built cache, opened.

    Attributes:
        path: its folder.
        folder: what is in it.
        records: what is known of each record, in order.
        shapes: `C H W` of latents, those that there are.
        shape_ids: which of `shapes` each record has.
        prompt_shape: `L D` of each prompt's embeddings, as they are read.
        empty_prompt_embeds: of the empty prompt, `L D`.
        statistics: what latents are normalised by when they are read, or None if they are kept as they are used.
        device: where latents and prompt_embeds are kept, and gathered.
        placed: the records of a large cache, which is split and ordered by formula; None: by lists of all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.device = torch.device("cpu")
        self._extras: dict[str, list[Tensor]] = {}
        try:
            self._take(self._open())
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, SafetensorError) as error:
            raise UserError(
                f"{path}: the latent cache is damaged ({type(error).__name__}: {error}). "
                "What is missing is encoded again when a run needs it."
            ) from error

    def _open(self) -> CacheFolder:
        return open_folder(self.path)

    def _take(self, folder: CacheFolder) -> None:
        self.folder = folder
        self.fingerprint, self.prompt_shape = folder.fingerprint, folder.prompt_shape
        self.statistics, self.empty_prompt_embeds = folder.statistics, folder.empty_prompt_embeds
        self.records, self.placed = folder.records, folder.placed
        self._longest_prompt, self._most_prompts = folder.longest_prompt, folder.most_prompts
        self._latents, self._prompt_embeds = folder.latents, folder.prompt_embeds
        self._first_prompts = folder.first_prompts
        counts = torch.tensor([len(latents) for latents in self._latents])
        self._ends = counts.cumsum(0)
        self._starts = self._ends - counts
        shapes = [(int(c), int(h), int(w)) for c, h, w in (latents.shape[1:] for latents in self._latents)]
        self.shapes: list[tuple[int, int, int]] = sorted(set(shapes))
        self.shape_ids = ShapeIds([self.shapes.index(shape) for shape in shapes], self._ends)

    def __len__(self) -> int:
        return len(self.records)

    def gather(self, indices: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents, `B C H W`, and prompt_embeds, `B L D`, of the records with these indices, as float32.

        Args:
            indices: of records with latents of one shape, `B`.
            captions: which of its prompts each comes with, `B`; None for the first.
        """
        return self.read(indices, captions)

    def read(self, indices: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same, from the shards."""
        shards = torch.searchsorted(self._ends, indices, right=True)
        latents = torch.empty(len(indices), *self.shapes[int(self.shape_ids[indices[0]])], device=self.device)
        prompt_embeds = torch.empty(len(indices), *self.prompt_shape, device=self.device)
        tokens = self.prompt_shape[0]
        for shard in shards.unique().tolist():
            rows = (shards == shard).nonzero()[:, 0]
            chosen, start = indices[rows], self._starts[shard]
            prompts = self._first_prompts[shard][chosen - start]
            if captions is not None:
                prompts = prompts + captions[rows]
            rows, chosen, prompts = (self._index(places) for places in (rows, chosen - start, prompts))
            held_latents, held_prompts = self.tensors(shard)
            latents[rows] = held_latents[chosen].float()
            prompt_embeds[rows] = held_prompts[:, :tokens][prompts].float()
        return latents if self.statistics is None else self.statistics.normalise(latents), prompt_embeds

    def tensors(self, shard: int) -> tuple[Tensor, Tensor]:
        """Latents and prompt_embeds of a shard, `n C H W` and `p L D`."""
        return self._latents[shard], self._prompt_embeds[shard]

    @property
    def is_here(self) -> bool:
        """Whether all shards lie on a disk of this machine."""
        return True

    @property
    def holds_all(self) -> bool:
        """Whether there is room here for all shards at once."""
        return True

    @property
    def groups(self) -> ShardGroups | None:
        """What there is room for at once, unless that is everything."""
        return None

    def offer(self, shard: int, keep: Collection[int]) -> bool:
        """Fetch a shard beforehand, if there is room for it beside those to keep; whether it is here."""
        del shard, keep
        return True

    def shards_of(self, indices: Tensor) -> list[int]:
        """Which shards hold these records, each once."""
        found: list[int] = torch.searchsorted(self._ends, indices, right=True).unique().tolist()
        return found

    def batch(self, indices: Tensor, captions: Tensor | None = None) -> Batch:
        """Everything that training takes of the records with these indices.

        Args:
            indices, captions: as `gather` takes them.
        """
        extras = {name: self._gather_extra(name, indices) for name in self._extras}
        return Batch(*self.read(indices, captions), *self.identities(indices, captions), extras)

    @property
    def largest(self) -> int:
        """Index of the first record whose latents are as large as any."""
        sizes = [latents[0].numel() for latents in self._latents]
        return int(self._starts[sizes.index(max(sizes))])

    @property
    def shard_sizes(self) -> list[int]:
        """How many records each shard holds, in order."""
        return [len(latents) for latents in self._latents]

    @property
    def homes(self) -> list[tuple[Path, int]]:
        """Folders with the shards, in order, and how many each has."""
        return [(self.path, len(self._latents))]

    def add_extra(self, name: str, shards: Sequence[Tensor]) -> None:
        """Hold another tensor of each record, `n ...` for the records of each shard; batches have it from now on."""
        self._extras[name] = [shard.to(self.device) for shard in shards]

    def _gather_extra(self, name: str, indices: Tensor) -> Tensor:
        shards = torch.searchsorted(self._ends, indices, right=True)
        held = self._extras[name]
        gathered = torch.empty(len(indices), *held[int(shards[0])].shape[1:], device=self.device)
        for shard in shards.unique().tolist():
            rows = (shards == shard).nonzero()[:, 0]
            places = self._index(indices[rows] - self._starts[shard])
            gathered[self._index(rows)] = held[shard][places].float()
        return gathered

    def identities(self, indices: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Numbers that tell captions apart, and pictures, `B` int64 each: see `Batch`. Another process has others.

        Args:
            indices, captions: as `gather` takes them.
        """
        records = indices.tolist()
        chosen = [0] * len(records) if captions is None else captions.tolist()
        prompts = [hash(self.records.prompt(index, number)) for index, number in zip(records, chosen, strict=True)]
        return torch.tensor(prompts), torch.tensor([hash(self.records.shown(index)) for index in records])

    @property
    def nbytes(self) -> int:
        """Size of all latents and extras, and of the prompt_embeds as they are read."""
        tokens = self.prompt_shape[0]
        prompts = sum(embeds[:, :tokens].numel() * embeds.element_size() for embeds in self._prompt_embeds)
        extras = sum(shard.nbytes for shards in self._extras.values() for shard in shards)
        return prompts + extras + sum(latents.nbytes for latents in self._latents)

    def move_to(self, device: torch.device) -> None:
        """Hold everything in this device's memory: batches are gathered there, and nothing is copied to it any more."""
        tokens = self.prompt_shape[0]
        for shard in range(len(self._latents)):
            latents, embeds = self.tensors(shard)
            self._latents[shard] = latents.to(device)
            self._prompt_embeds[shard] = embeds[:, :tokens].contiguous().to(device)
        for name, shards in self._extras.items():
            self._extras[name] = [shard.to(device) for shard in shards]
        self.device = device

    def _index(self, places: Tensor) -> Tensor:
        # From page-locked memory the copy waits for nothing that the GPU is still busy with.
        return places if self.device.type == "cpu" else places.pin_memory().to(self.device, non_blocking=True)

    def trim_prompts(self) -> None:
        """From now on read no more tokens of each prompt than the longest has, to the next multiple of 8.

        What is left out is padding of every prompt, which costs as much as words do.
        """
        tokens = min(self.prompt_shape[0], -(-self._longest_prompt // TOKENS_MULTIPLE) * TOKENS_MULTIPLE)
        self.prompt_shape = (tokens, self.prompt_shape[1])
        self.empty_prompt_embeds = self.empty_prompt_embeds[:tokens]

    def draw_captions(self, indices: Tensor, generator: torch.Generator) -> Tensor | None:
        """One of each record's prompts, `B`, as often as its weight says; None if all have but one."""
        if self._most_prompts == 1:
            return None
        weights = torch.zeros(len(indices), self._most_prompts)
        for row, index in zip(weights, indices.tolist(), strict=True):
            row[: len(self.records[index].prompts)] = torch.tensor(self.records[index].prompt_weights)
        return weights.multinomial(1, generator=generator)[:, 0]


def earlier_cache(folder: Path, fingerprint: str, origin: Mapping[str, Any]) -> Path | None:
    """The whole cache in this folder with this fingerprint, if only the code that made it was another.

    Args:
        folder: of caches.
        fingerprint: that the cache has in its index.
        origin: what shapes a cache now; what it did not have yet when that cache was made does not count.
    """
    now = json.loads(json.dumps(origin))
    for index in folder.glob(f"*-{glob.escape(fingerprint[:16])}/index.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
            known = json.loads(index.read_text(encoding="utf-8"))
            then = known["origin"]
            same = all(_alike(value, now.get(key)) for key, value in then.items() if key != "code")
            if known["fingerprint"] == fingerprint and same:
                return LatentCache(index.parent).path
    return None


def _alike(then: Any, now: Any) -> bool:
    """Whether everything that was there then is the same now."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(_alike(value, now.get(key)) for key, value in then.items())
    return bool(then == now)
