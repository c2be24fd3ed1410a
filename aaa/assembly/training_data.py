"""What a run is trained and validated on, and which records of it are looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.kept import KeptRecords
from aaa.data.mixed_cache import MixedCache
from aaa.data.mixed_order import MixedRecords
from aaa.data.mixed_split import in_turn
from aaa.data.permutation import permuted
from aaa.encoders.protocols import VAE
from aaa.evaluation.evaluated_model import Group
from aaa.evaluation.source_pictures import SourcePictures
from aaa.evaluation.validation import ValidationTable

Train = Tensor | KeptRecords | MixedRecords
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
        chosen_from: what `data.keep` chose the former from; None where it is not said.
        kept_digest: what tells the records that `data.keep` chose from others; None where it is not said.
        prompt_probe: tells whether prompts that are embedded while training become the same; None where a cache holds
            their embeddings.
    """

    cache: LatentCache
    vae: VAE
    train_records: Train
    held_out: Tensor
    table: ValidationTable | None
    source_pictures: SourcePictures = field(default_factory=SourcePictures)
    chosen_from: Train | None = None
    kept_digest: str | None = None
    prompt_probe: Sequence[float] | None = None

    @property
    def train_split(self) -> Train:
        """The records that are not held out, whichever of them `data.keep` chose."""
        return self.train_records if self.chosen_from is None else self.chosen_from

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
    def records(self) -> dict[Group, Tensor]:
        """Of either split, and of what `data.keep` chose of the training one (`trained_on`), indices to look at; of a
        large cache some of those that are not held out, always the same.
        """
        found: dict[Group, Tensor] = {"train": _to_look_at(self.train_split), "validation": self.held_out}
        return found if self.chosen_from is None else found | {"trained_on": _to_look_at(self.train_records)}

    @property
    def records_of_parts(self) -> dict[str, dict[Group, Tensor]]:
        """The same of each part of a mixture by its name; of other data nothing."""
        if not isinstance(self.train_records, MixedRecords) or not isinstance(self.train_split, MixedRecords):
            return {}
        found: dict[str, dict[Group, Tensor]] = {}
        for part, whole in zip(self.train_records.parts, self.train_split.parts, strict=True):
            found[part.name] = {"train": _to_look_at(whole.train), "validation": part.held_out}
            if part.train is not whole.train:
                found[part.name]["trained_on"] = _to_look_at(part.train)
        return found

    @property
    def spans_of_parts(self) -> dict[str, range]:
        """All indices of each part of a mixture by its name; of other data nothing."""
        return dict(self.cache.spans) if isinstance(self.cache, MixedCache) else {}


def _to_look_at(train: Train) -> Tensor:
    """Indices of records, of many of them some, always the same; of a mixture part by part in turn."""
    if isinstance(train, MixedRecords):
        return in_turn([_to_look_at(part.train) for part in train.parts])
    if isinstance(train, Tensor):
        return train
    return train[permuted(torch.arange(min(SEEN, len(train))), len(train), "seen")]
