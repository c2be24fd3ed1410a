"""What a run is trained and validated on, and which records of it are looked at."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.kept import KeptRecords
from aaa.data.mixed_cache import MixedCache
from aaa.data.mixed_order import MixedRecords
from aaa.data.mixed_split import in_turn
from aaa.data.permutation import permuted
from aaa.data.records import Split
from aaa.encoders.protocols import VAE
from aaa.evaluation.source_pictures import SourcePictures
from aaa.evaluation.validation import ValidationTable

SEEN = 10_000  # records to train on that evaluations look at, of a large cache


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained and validated on.

    Attributes:
        cache: of latents and prompt_embeds.
        vae: decodes its latents.
        train_records, held_out: indices into the cache; of a large one the former are not listed, of a mixture they
            are those of its parts.
        table: to validate on, None if nothing is held out.
        source_pictures: reads pictures as they were encoded, of those data sets that are here.
        kept: what tells the records that `data.keep` chose from others; None where it is not said.
    """

    cache: LatentCache
    vae: VAE
    train_records: Tensor | KeptRecords | MixedRecords
    held_out: Tensor
    table: ValidationTable | None
    source_pictures: SourcePictures = field(default_factory=SourcePictures)
    kept: str | None = None

    @property
    def rooms(self) -> tuple[int | None, ...]:
        """Bytes that there are for shards that lie elsewhere, of each part; None where there are enough for all.

        The order of the records follows from it.
        """
        if isinstance(self.train_records, MixedRecords):
            groups = [part.groups for part in self.train_records.parts]
        else:
            groups = [self.cache.groups]
        return tuple(None if group is None else group.limit_bytes for group in groups)

    @property
    def records(self) -> dict[Split, Tensor]:
        """Of either split, indices to look at; of a large cache some of those to train on, always the same."""
        if isinstance(self.train_records, MixedRecords):
            each = [*self.records_of_parts.values()]
            return {"train": in_turn([part["train"] for part in each]), "validation": self.held_out}
        return {"train": _to_look_at(self.train_records), "validation": self.held_out}

    @property
    def records_of_parts(self) -> dict[str, dict[Split, Tensor]]:
        """The same of each part of a mixture by its name; of other data nothing."""
        if not isinstance(self.train_records, MixedRecords):
            return {}
        parts = self.train_records.parts
        return {part.name: {"train": _to_look_at(part.train), "validation": part.held_out} for part in parts}

    @property
    def spans_of_parts(self) -> dict[str, range]:
        """All indices of each part of a mixture by its name; of other data nothing."""
        return dict(self.cache.spans) if isinstance(self.cache, MixedCache) else {}


def _to_look_at(train: Tensor | KeptRecords) -> Tensor:
    if isinstance(train, Tensor):
        return train
    return train[permuted(torch.arange(min(SEEN, len(train))), len(train), "seen")]
