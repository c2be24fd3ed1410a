"""Several latent caches that are read as one, for data sets that are mixed; each stays what it is."""

from collections.abc import Collection, Mapping
from itertools import accumulate
from pathlib import Path

from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.cache_folder import CacheFolder, pooled_statistics
from aaa.data.joined_records import JoinedRecords
from aaa.data.remembering_cache import RememberingCache
from aaa.errors import UserError


class MixedCache(RememberingCache):
    """Caches of one encoder, the records of one after those of the other.

    Args:
        parts: the caches, by name.

    Attributes:
        parts: as they were given.
        spans: indices of each part's records.

    Raises:
        UserError: if the latents or prompt_embeds of two of them are of other shapes, or one is damaged.
    """

    def __init__(self, parts: Mapping[str, LatentCache]) -> None:
        self.parts = parts
        ends = list(accumulate(map(len, parts.values())))
        self.spans = {name: range(end - len(part), end) for (name, part), end in zip(parts.items(), ends, strict=True)}
        _require_alike(parts)
        self._homes = [(part, shard) for part in parts.values() for shard in range(len(part.shard_sizes))]
        super().__init__(next(iter(parts.values())).path.with_name("+".join(part.path.name for part in parts.values())))

    def _open(self) -> CacheFolder:
        return joined({name: part.folder for name, part in self.parts.items()})

    def tensors(self, shard: int) -> tuple[Tensor, Tensor]:
        """Latents and prompt_embeds of a shard, `n C H W` and `p L D`."""
        if self.device.type != "cpu":
            return super().tensors(shard)
        part, own = self._homes[shard]
        return part.tensors(own)

    @property
    def is_here(self) -> bool:
        """Whether all shards lie on a disk of this machine."""
        return all(part.is_here for part in self.parts.values())

    @property
    def holds_all(self) -> bool:
        """Whether there is room here for all shards at once."""
        return all(part.holds_all for part in self.parts.values())

    def offer(self, shard: int, keep: Collection[int]) -> bool:
        """Fetch a shard beforehand, if there is room for it beside those to keep; whether it is here."""
        part, own = self._homes[shard]
        kept = [number for of, number in map(self._homes.__getitem__, keep) if of is part]
        return part.offer(own, kept)

    @property
    def homes(self) -> list[tuple[Path, int]]:
        """Folders with the shards, and how many each has."""
        return [home for part in self.parts.values() for home in part.homes]


def joined(folders: Mapping[str, CacheFolder]) -> CacheFolder:
    """What is in several folders as if it were in one.

    Latents are normalised by the statistics of all records together, whatever their weights: runs that differ in these
    alone are validated on the same latents.
    """
    parts = [*folders.values()]
    return CacheFolder(
        fingerprint=joined_fingerprint({name: part.fingerprint for name, part in folders.items()}),
        prompt_shape=parts[0].prompt_shape,
        longest_prompt=max(part.longest_prompt for part in parts),
        most_prompts=max(part.most_prompts for part in parts),
        statistics=pooled_statistics(parts),
        empty_prompt_embeds=parts[0].empty_prompt_embeds,
        records=JoinedRecords({name: part.records for name, part in folders.items()}),
        latents=[shard for part in parts for shard in part.latents],
        prompt_embeds=[shard for part in parts for shard in part.prompt_embeds],
        first_prompts=[shard for part in parts for shard in part.first_prompts],
        placed=None,
    )


def joined_fingerprint(fingerprints: Mapping[str, str]) -> str:
    """What tells a mixture of latents from others: `shapes:4f1d...,emoji:9a0b...`."""
    return ",".join(f"{name}:{fingerprint}" for name, fingerprint in fingerprints.items())


def fingerprint_within(joined: str | None, name: str) -> str | None:
    """That of the part of this name; None if there is none."""
    return dict(part.partition(":")[::2] for part in (joined or "").split(",")).get(name)


def _require_alike(parts: Mapping[str, LatentCache]) -> None:
    """Refuse caches whose tensors cannot be in one batch."""
    said = {name: f"{part.shapes[0][0]} channels, prompts of {part.prompt_shape}" for name, part in parts.items()}
    first, *others = said
    for name in others:
        if said[name] != said[first]:
            raise UserError(
                f"data.parts.{first} has latents of {said[first]}, data.parts.{name} of {said[name]}: no batch can be "
                "of both. Encode both with one encoder and text_encoder."
            )
