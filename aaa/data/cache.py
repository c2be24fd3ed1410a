"""The latent cache: pictures and prompts encoded once, read back by every later run through memory maps.

A cache is a folder of safetensors shards with an index; its name ends in the hash of everything that shaped
it. `aaa.data.build_cache` makes them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.data.records import Split
from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError

NO_PICTURE = ""  # of records in caches of versions that did not look at pixels
TOKENS_MULTIPLE = 8  # GPUs multiply matrices of such sizes faster


@dataclass(frozen=True)
class CachedRecord:
    """What is kept of a record beside its tensors.

    Attributes:
        key, prompts, split: as its source gave them.
        flipped: whether it is the mirrored copy of the record with its key.
        prompt_weights: how often each prompt is drawn.
        picture: what tells its picture from others (`picture_digest`); None where only the key does.
    """

    key: str
    prompts: Sequence[str]
    split: Split | None
    flipped: bool = False
    prompt_weights: Sequence[float] = (1.0,)
    picture: str | None = None

    @property
    def prompt(self) -> str:
        """The first prompt: what validation and sample grids use."""
        return self.prompts[0]


class LatentCache:
    """A built cache, opened.

    Attributes:
        path: its folder.
        records: what is known of each record, in order.
        shapes: `C H W` of latents, those that there are.
        shape_ids: which of `shapes` each record has, `N`.
        prompt_shape: `L D` of each prompt's embeddings, as they are read.
        empty_prompt_embeds: of the empty prompt, `L D`.
        statistics: what latents are normalised by when they are read, or None if they are kept as they are used.
        device: where latents and prompt_embeds are kept, and gathered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.device = torch.device("cpu")
        self.statistics: LatentStatistics | None = None
        try:
            self._open()
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, SafetensorError) as error:
            raise UserError(
                f"{path}: the latent cache is damaged ({type(error).__name__}: {error}). "
                "What is missing is encoded again when a run needs it."
            ) from error

    def _open(self) -> None:
        index = json.loads((self.path / "index.json").read_text(encoding="utf-8"))
        self.fingerprint: str = index["fingerprint"]
        self.prompt_shape: tuple[int, int] = tuple(index["prompt_shape"])
        self._longest_prompt: int = index["longest_prompt"]
        statistics = index["statistics"]
        if statistics is not None:
            self.statistics = LatentStatistics(tuple(statistics["mean"]), tuple(statistics["std"]))
        with (self.path / "records.jsonl").open(encoding="utf-8") as lines:
            self.records = [CachedRecord(**{"picture": NO_PICTURE} | json.loads(line)) for line in lines]
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
        shapes = [tuple(latents.shape[1:]) for latents in self._latents]
        self.shapes: list[tuple[int, int, int]] = sorted(set(shapes))
        self.shape_ids = torch.tensor([self.shapes.index(shape) for shape in shapes]).repeat_interleave(counts)
        self._prompt_counts = torch.cat([shard.get_tensor("prompt_counts") for shard in shards])
        self._first_prompts = self._prompt_counts.cumsum(0) - self._prompt_counts

    def __len__(self) -> int:
        return len(self.records)

    def gather(self, indices: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents, `B C H W`, and prompt_embeds, `B L D`, of the records with these indices, as float32.

        Args:
            indices: of records with latents of one shape, `B`.
            captions: which of its prompts each comes with, `B`; None for the first.
        """
        shards = torch.searchsorted(self._ends, indices, right=True)
        latents = torch.empty(len(indices), *self.shapes[int(self.shape_ids[indices[0]])], device=self.device)
        prompt_embeds = torch.empty(len(indices), *self.prompt_shape, device=self.device)
        tokens = self.prompt_shape[0]
        for shard in shards.unique().tolist():
            rows = (shards == shard).nonzero()[:, 0]
            chosen, start = indices[rows], self._starts[shard]
            prompts = self._first_prompts[chosen] - self._first_prompts[start]
            if captions is not None:
                prompts += captions[rows]
            rows, chosen, prompts = (self._index(places) for places in (rows, chosen - start, prompts))
            latents[rows] = self._latents[shard][chosen].float()
            prompt_embeds[rows] = self._prompt_embeds[shard][:, :tokens][prompts].float()
        return latents if self.statistics is None else self.statistics.normalise(latents), prompt_embeds

    @property
    def nbytes(self) -> int:
        """Size of all latents and of the prompt_embeds as they are read."""
        tokens = self.prompt_shape[0]
        prompts = sum(embeds[:, :tokens].numel() * embeds.element_size() for embeds in self._prompt_embeds)
        return prompts + sum(latents.nbytes for latents in self._latents)

    def move_to(self, device: torch.device) -> None:
        """Hold everything in this device's memory: batches are gathered there, and nothing is copied to it any more."""
        tokens = self.prompt_shape[0]
        self._latents = [latents.to(device) for latents in self._latents]
        self._prompt_embeds = [embeds[:, :tokens].contiguous().to(device) for embeds in self._prompt_embeds]
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
        if int(self._prompt_counts.max()) == 1:
            return None
        weights = torch.zeros(len(indices), int(self._prompt_counts.max()))
        for row, index in zip(weights, indices.tolist(), strict=True):
            row[: len(self.records[index].prompts)] = torch.tensor(self.records[index].prompt_weights)
        return weights.multinomial(1, generator=generator)[:, 0]
