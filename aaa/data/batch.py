"""What a step is trained on: tensors of some records, and what tells which of them are alike."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.device_copies import copied

NO_EXTRAS: Mapping[str, Tensor] = MappingProxyType({})


class Batch(NamedTuple):
    """Some records, of latents of one shape.

    Attributes:
        latents: `B C H W`.
        prompt_embeds: of the caption that each came with, `B L D`.
        captions: numbers that are equal where captions are, `B` int64; always on the CPU.
        pictures: numbers that are equal where pictures are, mirrored or not, `B` int64; always on the CPU.
        extras: whatever else the cache holds of each record, by name, `B ...`.
    """

    latents: Tensor
    prompt_embeds: Tensor
    captions: Tensor
    pictures: Tensor
    extras: Mapping[str, Tensor] = NO_EXTRAS

    @classmethod
    def of_strangers(cls, latents: Tensor, prompt_embeds: Tensor) -> "Batch":
        """Samples each of which has a caption and a picture of its own."""
        return cls(latents, prompt_embeds, torch.arange(len(latents)), torch.arange(len(latents)))

    def to(self, device: torch.device) -> "Batch":
        """The same on a device, of which the copies need not be waited for."""
        return self.with_each(lambda tensor: copied(tensor, device))

    def as_dtype(self, dtype: torch.dtype) -> "Batch":
        """The same with what a model takes in the dtype of its weights; extras stay as they are."""
        return self._replace(latents=self.latents.to(dtype), prompt_embeds=self.prompt_embeds.to(dtype))

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory, from which a GPU copies without anybody waiting."""
        return self.with_each(Tensor.pin_memory)

    def with_each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with what a function makes of each tensor that goes to the device."""
        extras = {name: function(extra) for name, extra in self.extras.items()}
        return self._replace(latents=function(self.latents), prompt_embeds=function(self.prompt_embeds), extras=extras)

    @property
    def on_device(self) -> list[Tensor]:
        """The tensors that go to the device, in an order that is always the same."""
        return [self.latents, self.prompt_embeds, *(self.extras[name] for name in sorted(self.extras))]
