"""What a run feeds its model with: batches of cached latents in order, from where the device gets them fastest."""

import torch
from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.cache import LatentCache
from aaa.data.grouped_order import orders_by_shape
from aaa.data.kept import KeptRecords
from aaa.data.live_prompts import LivePrompts
from aaa.data.mixed_order import MixedRecords, mixed_order
from aaa.data.order import DataOrder, buckets_in_order
from aaa.data.prefetch import Prefetch
from aaa.data.randomness import generator
from aaa.data.read_ahead import ReadAhead
from aaa.run.embedded_batches import EmbeddedBatches
from aaa.training.memory import available_memory
from aaa.training.step import Batches

RESIDENT_SHARE = 0.2  # of a GPU's memory that latents may take up


def hold_near(cache: LatentCache, device: torch.device) -> None:
    """Move latents into a GPU's memory where they take little of it; before what else fits there is measured.

    Args:
        cache: is changed.
        device: that trains.
    """
    if device.type == "cuda" and cache.nbytes <= RESIDENT_SHARE * available_memory(device):
        cache.move_to(device)


class LatentLoader:
    """Batches of the training records, in an order that the seed decides.

    Args:
        cache: of latents and prompt_embeds; what `hold_near` has left where it was is read ahead for a GPU, and shards
            that lie elsewhere are fetched ahead.
        records: those to train on; of a large cache they come in an order by formula, of a mixture by weight.
        batch_size: samples of an optimizer step.
        gradient_accumulation_steps: micro-batches of a step.
        seed: of order and captions.
        device: that trains.
        began_at: samples that were trained on before.

    Attributes:
        batches: the samples at positions of the order, on the CPU or on the device.
        embedding: embeds their prompts, where the cache does not hold these; else None.
    """

    def __init__(
        self,
        cache: LatentCache,
        records: Tensor | KeptRecords | MixedRecords,
        batch_size: int,
        gradient_accumulation_steps: int,
        seed: int,
        device: torch.device,
        began_at: int = 0,
    ) -> None:
        self.cache, self.seed, self.batch_size, self.began_at = cache, seed, batch_size, began_at
        self.order = _order(cache, records, batch_size, seed)
        self._ahead: ReadAhead | None = None
        if not cache.is_here and cache.device.type == "cpu":
            own = _order(cache, records, batch_size, seed)
            shards = len(cache.shard_sizes) if cache.holds_all else None
            self._ahead = ReadAhead(own, cache.shards_of, cache.offer, batch_size, shards)
        self._prefetch: Prefetch | None = None
        self.batches: Batches = self._gather
        if device.type == "cuda" and cache.device.type == "cpu":
            self._prefetch = Prefetch(self._gather, batch_size // gradient_accumulation_steps, pin=True)
            self.batches = self._prefetch
        self.embedding: EmbeddedBatches | None = None
        if isinstance(cache, LivePrompts):
            self.embedding = EmbeddedBatches(self.batches, self.prompts_at, cache.embedded, device)
            self.batches = self.embedding

    def records_at(self, positions: range) -> list[int]:
        """Indices of the records at these positions of the order, which lie within one micro-batch."""
        return [int(index) for index in self.order[self._in_order(positions)]]

    def prompts_at(self, positions: range) -> list[str]:
        """The prompts that are drawn for them."""
        records = self.records_at(positions)
        numbers = self._captions(torch.tensor(records), self._in_order(positions))
        drawn = [0] * len(records) if numbers is None else numbers.tolist()
        return [self.cache.records.prompt(record, number) for record, number in zip(records, drawn, strict=True)]

    def close(self) -> None:
        """Read no more."""
        if self._prefetch is not None:
            self._prefetch.close()
        if self._ahead is not None:
            self._ahead.close()

    def _in_order(self, positions: range) -> range:
        """The places that count in the order: batches of one shape each begin at multiples of their size.

        Where a run goes on with another batch size, its samples so far need be no such multiple.
        """
        if not self.order.of_batches:
            return positions
        ahead = -self.began_at % self.batch_size
        return range(positions.start + ahead, positions.stop + ahead)

    def _gather(self, positions: range) -> Batch:
        positions = self._in_order(positions)
        if self._ahead is not None:
            self._ahead.reached(positions.start)
        records = self.order[positions]
        captions = self._captions(records, positions)
        if isinstance(self.cache, LivePrompts):
            return self.cache.batch_to_embed(records, captions)
        return self.cache.batch(records, captions)

    def _captions(self, records: Tensor, ordered: range) -> Tensor | None:
        return self.cache.draw_captions(records, generator(self.seed, "captions", ordered.start))


def _order(cache: LatentCache, records: Tensor | KeptRecords | MixedRecords, batch_size: int, seed: int) -> DataOrder:
    if isinstance(records, MixedRecords):
        return mixed_order(records, cache.shape_ids, batch_size, seed)
    buckets = orders_by_shape(records, cache.groups, cache.shape_ids, seed)
    return buckets_in_order([*buckets.values()], batch_size, seed)
