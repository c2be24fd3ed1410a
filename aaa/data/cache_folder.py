"""The folder of a latent cache, opened: an index, shards of tensors, and what is known of their records.

Shards and records may lie in folders of their own below, where several processes encoded a part each.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from aaa.data.cached_records import ArrowRecords, read_json_records
from aaa.data.joined_records import Records
from aaa.data.picture_places import PlacedRecords
from aaa.encoders.statistics import LatentStatistics, pooled

INDEX, RECORDS, EMPTY_PROMPT = "index.json", "records.arrow", "empty_prompt.safetensors"
NOTICES = "notices"  # in the metadata of a shard that has any: rows by what there is to know of their pictures
EARLIER_RECORDS = "records.jsonl"  # of versions before Arrow


@dataclass
class CacheFolder:
    """What is in the folder.

    Attributes:
        fingerprint: of what shaped the cache.
        prompt_shape: `L D` of each prompt's embeddings.
        longest_prompt: tokens of the longest, as far as they are kept.
        most_prompts: of any record.
        statistics: that latents are normalised by, or None.
        empty_prompt_embeds: `L D`.
        records: in the order of the shards.
        latents, prompt_embeds: of each shard, `n C H W` and `p L D`, mapped into memory.
        first_prompts: of each shard, where in `prompt_embeds` those of each record begin, `n` or more.
        placed: the records of a large cache, None where all are listed to be split and shuffled.
        build: what was counted when it was encoded, by name; empty where an early version made it, and of a mixture.
    """

    fingerprint: str
    prompt_shape: tuple[int, int]
    longest_prompt: int
    most_prompts: int
    statistics: LatentStatistics | None
    empty_prompt_embeds: Tensor
    records: Records
    latents: list[Tensor]
    prompt_embeds: list[Tensor]
    first_prompts: list[Tensor]
    placed: PlacedRecords | None
    build: dict[str, Any] = field(default_factory=dict)


class Outline(NamedTuple):
    """What a shard holds, known without it.

    Attributes:
        latents, prompt_embeds: its tensors without their values, on no device: `n C H W` and `p L D`.
        nbytes: size of its file.
    """

    latents: Tensor
    prompt_embeds: Tensor
    nbytes: int


def open_folder(path: Path, outlines: Sequence[Outline] | None = None) -> CacheFolder:
    """Open a whole cache.

    Args:
        path: its folder.
        outlines: of its shards, where these lie elsewhere.

    Raises:
        OSError, ValueError, KeyError, TypeError, SafetensorError: if it is not there or damaged.
    """
    index = json.loads((path / INDEX).read_text(encoding="utf-8"))
    if outlines is None:
        shards = [safe_open(path / name, "pt") for name in index["shards"]]
        latents, prompt_embeds = ([s.get_tensor(name) for s in shards] for name in ("latents", "prompt_embeds"))
    else:
        latents, prompt_embeds = [o.latents for o in outlines], [o.prompt_embeds for o in outlines]
    records: Records
    placed = None
    if "records" in index:
        records = ArrowRecords([path / name for name in index["records"]])
        counts = [len(batch) for batch in records.batches]
        first_prompts = [batch.first_prompts for batch in records.batches]
        most_prompts = index["most_prompts"]
        if index["placed"]:
            placed = PlacedRecords.open(path)
    elif outlines is not None:
        raise ValueError("an early version made it, of which all has to be there: copy the whole folder")
    else:
        records = read_json_records(path / EARLIER_RECORDS)
        prompt_counts = [shard.get_tensor("prompt_counts") for shard in shards]
        counts = [len(of_shard) for of_shard in prompt_counts]
        first_prompts = [of_shard.cumsum(0) - of_shard for of_shard in prompt_counts]
        most_prompts = max(int(of_shard.max()) for of_shard in prompt_counts)
    if counts != [len(shard) for shard in latents] or sum(counts) != len(records):
        raise ValueError(f"{len(records)} records, {sum(map(len, latents))} latents")
    statistics = index["statistics"]
    return CacheFolder(
        index["fingerprint"],
        tuple(index["prompt_shape"]),
        index["longest_prompt"],
        most_prompts,
        None if statistics is None else LatentStatistics(tuple(statistics["mean"]), tuple(statistics["std"])),
        safe_open(path / EMPTY_PROMPT, "pt").get_tensor("prompt_embeds")[0],
        records,
        latents,
        prompt_embeds,
        first_prompts,
        placed,
        index.get("build", {}),
    )


class ShapeIds:
    """Which of a cache's shapes of latents each record has, by its shard: no list of all records is held.

    Args:
        of_shards: shape of each shard, as a number.
        ends: where the records of each shard end, `S`.
    """

    def __init__(self, of_shards: Sequence[int], ends: Tensor) -> None:
        self._of_shards, self._ends = torch.tensor(of_shards), ends

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Of the records with these indices, `B`."""
        return self._of_shards[torch.searchsorted(self._ends, indices, right=True)]

    def ranges(self) -> list[list[range]]:
        """Where the records of each shape lie."""
        starts = [0, *self._ends.tolist()]
        found: list[list[range]] = [[] for _ in range(int(self._of_shards.max()) + 1)]
        for shape, start, end in zip(self._of_shards.tolist(), starts, starts[1:], strict=False):
            found[shape].append(range(start, end))
        return found


def pooled_statistics(folders: Iterable[CacheFolder]) -> LatentStatistics | None:
    """The statistics of all their latents together; None where these are not normalised."""
    counted = [
        (folder.statistics, sum(shard[:, 0].numel() for shard in folder.latents))
        for folder in folders
        if folder.statistics is not None
    ]
    return pooled(counted) if counted else None
