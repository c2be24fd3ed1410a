"""Tokens that skip blocks while training (TREAD, Krause et al. 2025, arXiv 2501.04765, section 3).

Of each picture's latents a share drawn at random is taken out before block `first` and put back, as it was, into its
places after block `last`: those blocks cost less, and their gradients reach the others by a shorter way. Nothing is
learned for it, so a model draws, validates and is saved as one that was trained without.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.data.randomness import generator
from aaa.models.block import BlockContext


@dataclass(frozen=True)
class Routing:
    """Which tokens skip which blocks.

    Attributes:
        rate: share of a picture's latents that skip, in 0..1.
        first, last: blocks that are skipped, from 1.
    """

    rate: float
    first: int
    last: int

    def skipping(self, latents: int) -> int:
        """How many of so many latents skip: at least one stays."""
        return min(int(self.rate * latents), latents - 1)

    @torch.compiler.disable
    def draw(self, draws: torch.Generator, x: Tensor, latents: int) -> Tensor:
        """Places of the tokens that stay, `B K` in rising order: some of the first `latents`, and all others.

        Args:
            draws: its seed is that of the draw; it is not advanced.
            x: tokens, `B N D`.
            latents: how many of them may skip.
        """
        own = generator(draws.initial_seed(), "routing", device=x.device)
        order = torch.rand(len(x), latents, generator=own, device=x.device).argsort(dim=1)
        staying = order[:, self.skipping(latents) :].sort(dim=1).values
        others = torch.arange(latents, x.shape[1], device=x.device).expand(len(x), -1)
        return torch.cat([staying, others], dim=1)

    def tokens(self, number: int, latents: int, others: int) -> int:
        """How many tokens block `number` has while training, of so many latents and others."""
        return others + latents - (self.skipping(latents) if self.first <= number <= self.last else 0)


class Detour(NamedTuple):
    """What is left behind where tokens are taken out.

    Attributes:
        x: all tokens as they were, `B N D`.
        context: what blocks were told of all of them.
        places: of the tokens that stay, `B K`.
    """

    x: Tensor
    context: BlockContext
    places: Tensor

    def staying(self) -> tuple[Tensor, BlockContext]:
        """The tokens that stay, `B K D`, and what blocks are told of them."""
        return take(self.x, self.places), of_staying(self.context, self.places)

    def back(self, staying: Tensor) -> Tensor:
        """All tokens, `B N D`, of which those that stayed, `B K D`, are other ones by now."""
        return self.x.scatter(1, self.places[..., None].expand_as(staying), staying.to(self.x.dtype))


def take(x: Tensor, places: Tensor, dim: int = 1) -> Tensor:
    """Tokens at these places, `B K`, of `x` with tokens along `dim` and samples (or 1 for all) along the first axis.

    Returns:
        As `x`, with K tokens for each of B samples.
    """
    x = x.expand(len(places), *x.shape[1:])
    index = places.view(len(places), *[-1 if axis == dim else 1 for axis in range(1, x.ndim)])
    return x.take_along_dim(index, dim)


def of_staying(context: BlockContext, places: Tensor) -> BlockContext:
    """What blocks are told of the tokens at these places."""
    rotation, values, attended = context.rotation, context.first_values, context.attended
    if rotation is not None:
        rotation = torch.stack([take(part[None], places)[:, None] for part in rotation])  # 2 B 1 K head_dim/2
    return context._replace(
        positions=take(context.positions, places),
        rotation=rotation,
        first_values=None if values is None else take(values, places, dim=2),
        attended=None if attended is None else take(attended, places, dim=3),
    )
