"""Latent caches whose prompts are embedded whenever they are asked for; what a cache holds of them is not looked at.

A cache may hold embeddings or, where none were to be kept, ones without width: its latents are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.cache import LatentCache
from aaa.data.cache_folder import CacheFolder
from aaa.data.mixed_cache import MixedCache
from aaa.data.remote_cache import RemoteCache

Embed = Callable[[Sequence[str]], Tensor]  # prompts to `B L D` float32


class LivePrompts(LatentCache):
    """The part of such a cache that has to do with prompts.

    Attributes:
        prompt_shape: `L 0`: how many tokens are read; there is nothing of them on the disk.
        empty_prompt_embeds: `L D`, once `embed_with` has told them.
    """

    _embed: Embed | None = None

    def embed_with(self, embed: Embed, empty_prompt_embeds: Tensor) -> None:
        """From now on embed prompts with this.

        Args:
            embed: gives all `L` tokens of prompts.
            empty_prompt_embeds: of the empty prompt, `L D` in the dtype of the cache.
        """
        self._embed = embed
        self.empty_prompt_embeds = empty_prompt_embeds.cpu()

    def embedded(self, prompts: Sequence[str]) -> Tensor:
        """Prompt_embeds, `B L D` float32, on the device that embeds, of as many tokens as are read."""
        assert self._embed is not None  # parts of a mixture are read through it
        return self._embed(prompts)[:, : self.prompt_shape[0]]

    def gather(self, indices: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents, `B C H W`, and prompt_embeds made anew, `B L D`, of the records with these indices, as float32.

        Args:
            indices: of records with latents of one shape, `B`.
            captions: which of its prompts each comes with, `B`; None for the first.
        """
        return self.latents_of(indices), self.embedded(self.prompts_of(indices, captions)).to(self.device)

    def latents_of(self, indices: Tensor) -> Tensor:
        """Latents alone, `B C H W` float32."""
        return super().gather(indices)[0]

    def prompts_of(self, indices: Tensor, captions: Tensor | None = None) -> list[str]:
        """Prompts of these records, as `gather` takes them."""
        numbers = [0] * len(indices) if captions is None else captions.tolist()
        return [self.records.prompt(index, n) for index, n in zip(indices.tolist(), numbers, strict=True)]

    def batch(self, indices: Tensor, captions: Tensor | None = None) -> Batch:
        """Everything that training takes of the records with these indices.

        Args:
            indices, captions: as `gather` takes them.
        """
        prompt_embeds = self.embedded(self.prompts_of(indices, captions))
        return self.batch_to_embed(indices, captions)._replace(prompt_embeds=prompt_embeds)

    def batch_to_embed(self, indices: Tensor, captions: Tensor | None = None) -> Batch:
        """The same with prompt_embeds without width, `B L 0`: whoever reads ahead leaves the device alone."""
        return super().batch(indices, captions)

    def tensors(self, shard: int) -> tuple[Tensor, Tensor]:
        """Latents of a shard, `n C H W`, and prompt_embeds without width, `p L 0`: what `read` reads."""
        latents, prompt_embeds = super().tensors(shard)
        return latents, prompt_embeds[..., :0]

    def _open(self) -> CacheFolder:
        folder = super()._open()
        return replace(
            folder,
            prompt_shape=(folder.prompt_shape[0], 0),
            prompt_embeds=[prompt_embeds[..., :0] for prompt_embeds in folder.prompt_embeds],
            empty_prompt_embeds=folder.empty_prompt_embeds[..., :0],
        )


class LiveCache(LivePrompts, LatentCache):
    """Of a folder."""


class LiveRemoteCache(LivePrompts, RemoteCache):
    """Of an address."""


class LiveMixedCache(LivePrompts, MixedCache):
    """Of several caches."""


def latents_of(cache: LatentCache, indices: Tensor) -> Tensor:
    """Latents alone, `B C H W` float32, of the records with these indices, for which no prompt is embedded.

    Args:
        cache: any.
        indices: of records with latents of one shape, `B`.
    """
    return cache.latents_of(indices) if isinstance(cache, LivePrompts) else cache.gather(indices)[0]
