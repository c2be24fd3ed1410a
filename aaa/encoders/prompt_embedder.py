"""Prompts embedded while a model trains, as a latent cache would hold them; those asked for last are remembered.

What becomes of a prompt must not hang on which prompts were embedded before it, or a run that is resumed, which
remembers nothing, would not be the run that was stopped. Matrix products round otherwise in batches of other sizes, so
all batches are of one size; whether place and neighbours in a batch matter is tried, and where they do nothing is
remembered: then the prompts of a step alone decide.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from aaa.encoders.embedding import embed
from aaa.encoders.protocols import TextEncoder

logger = logging.getLogger(__name__)

REMEMBERED_BYTES = 2**28  # 1,024 prompts of 128 tokens of Qwen3-0.6B, 65,536 of the 16 words of text_encoder=words
AT_ONCE, AT_ONCE_ON_GPU = 8, 32  # prompts; a GPU is not busy with fewer


class PromptEmbedder:
    """A frozen text encoder on the device that trains.

    Args:
        text_encoder: on this device, if it has weights.
        dtype: that embeddings are rounded to, as those of a cache are by `encoder.storage_dtype`.
        device: that gets them.
        remembered_bytes: of embeddings that are kept, in memory that is taken at once, so that what fits beside it can
            be measured.

    Attributes:
        empty: of the empty prompt, `L D` in that dtype.
        remembers: whether embeddings are kept.

    Raises:
        UserError: if the text encoder gives no embeddings of the shape that it names.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        dtype: torch.dtype,
        device: torch.device,
        remembered_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        self._text_encoder, self._dtype, self._device = text_encoder, dtype, device
        self._at_once = AT_ONCE_ON_GPU if device.type == "cuda" else AT_ONCE
        shape = text_encoder.max_length, text_encoder.prompt_dim
        room = remembered_bytes // (shape[0] * shape[1] * dtype.itemsize)
        self.remembers = room > 0 and self._same_anywhere()
        self._kept = torch.empty(room if self.remembers else 0, *shape, dtype=dtype, device=device)
        self._places: OrderedDict[str, int] = OrderedDict()  # in `_kept`, those that were asked for last at the end
        self.empty = self._embedded([""])[0]

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings, `B L D` float32, rounded as a cache rounds them, on the device.

        Args:
            prompts: normalised, as records of a cache have them.
        """
        with torch.autocast(self._device.type, enabled=False):  # what is drawn or validated on asks within one
            return self._found(prompts)

    def _found(self, prompts: Sequence[str]) -> Tensor:
        distinct = list(dict.fromkeys(prompts))
        if not self.remembers:
            found = self._embedded(distinct)
        else:
            known = [prompt for prompt in distinct if prompt in self._places]
            new = [prompt for prompt in distinct if prompt not in self._places]
            places = torch.tensor([self._places[prompt] for prompt in known], dtype=torch.long)
            parts = [self._kept[self._index(places)], *([self._embedded(new)] if new else [])]
            distinct, found = known + new, torch.cat(parts)
            self._remember(known, new, parts[-1])
        rows = {prompt: row for row, prompt in enumerate(distinct)}
        return found[self._index(torch.tensor([rows[prompt] for prompt in prompts]))].float()

    def _index(self, places: Tensor) -> Tensor:
        # From page-locked memory the copy waits for nothing that the GPU is still busy with.
        return places.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else places

    def _remember(self, known: Sequence[str], new: Sequence[str], embedded: Tensor) -> None:
        """Keep what is new in place of what was asked for longest ago."""
        for prompt in known:
            self._places.move_to_end(prompt)
        kept = new[: len(self._kept)]
        if not kept:
            return
        places = []
        for prompt in kept:
            full = len(self._places) == len(self._kept)
            place = self._places.popitem(last=False)[1] if full else len(self._places)
            self._places[prompt] = place
            places.append(place)
        self._kept[self._index(torch.tensor(places))] = embedded[: len(kept)]

    @torch.no_grad()
    def _embedded(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings, `B L D` in the dtype that they are kept in, in batches of one size."""
        parts = []
        for first in range(0, len(prompts), self._at_once):
            batch = prompts[first : first + self._at_once]
            filled = [*batch, *[""] * (self._at_once - len(batch))]
            prompt_embeds, _ = embed(self._text_encoder, filled)
            parts.append(prompt_embeds[: len(batch)].to(self._device, self._dtype))
        return torch.cat(parts)

    def _same_anywhere(self) -> bool:
        """Whether a prompt becomes the same in each place of a batch and beside any others."""
        tried = [" ".join(f"word {number}" for number in range(count)) for count in range(self._at_once)]
        backwards = self._embedded(tried[::-1]).flip(0)
        among = self._embedded(tried)
        one = self._embedded(tried[1:2] * self._at_once)
        same = torch.equal(among, backwards) and bool((one == among[1]).all())
        if not same:
            logger.info(
                "What the text encoder makes of a prompt hangs on the others of its batch, in the last bits: none is "
                "remembered, so that a run that is resumed stays the same."
            )
        return same
