"""A cache of which some shards lie elsewhere: what is looked at again and again beside training stays in memory."""

import torch
from torch import Tensor

from aaa.data.cache import LatentCache

KEPT_BYTES = 2**30  # a validation table of FLUX.2's latents and 128 tokens takes 40 MB


class RememberingCache(LatentCache):
    """Keeps the records that are gathered outside of batches: those of validation and of pictures, from any shard."""

    _rows: dict[int, tuple[Tensor, Tensor]]
    _kept_as: object = None

    def gather(self, indices: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents, `B C H W`, and prompt_embeds, `B L D`, of the records with these indices, as float32.

        Args:
            indices: of records with latents of one shape, `B`.
            captions: which of its prompts each comes with, `B`; None for the first.
        """
        if self.is_here or captions is not None or self.device.type != "cpu":
            return self.read(indices, captions)
        if self._kept_as != (self.statistics, self.prompt_shape):
            self._kept_as, self._rows = (self.statistics, self.prompt_shape), {}
        wanted = indices.tolist()
        if missing := sorted(set(wanted) - self._rows.keys()):
            rows = list(zip(*self.read(torch.tensor(missing)), strict=True))
            if (len(self._rows) + len(rows)) * sum(part.nbytes for part in rows[0]) > KEPT_BYTES:
                return self.read(indices)
            self._rows |= {
                index: (latents.clone(), prompt.clone()) for index, (latents, prompt) in zip(missing, rows, strict=True)
            }
        latents, prompts = zip(*(self._rows[index] for index in wanted), strict=True)
        return torch.stack(latents), torch.stack(prompts)
