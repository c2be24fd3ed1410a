"""Tokens that skip blocks while training (TREAD, Krause et al. 2025, arXiv 2501.04765, section 3).

Of each picture's latents a share drawn at random is taken out before block `first` and put back, as it was, into its
places after block `last`: those blocks cost less, and their gradients reach the others by a shorter way. Nothing is
learned for it, so a model draws, validates and is saved as one that was trained without.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.models.block import BlockContext
from aaa.models.forward import WeakerWay


@dataclass(frozen=True)
class Routing:
    """Which tokens skip which blocks: those of TREAD, and what sprint.py has in common with it.

    Attributes:
        rate: share of a picture's latents that skip, in 0..1.
        first, last: blocks that are skipped, from 1.
    """

    rate: float
    first: int
    last: int

    def leave(
        self,
        x: Tensor,
        context: BlockContext,
        latents: int,
        draws: torch.Generator | None,
        weaker: WeakerWay | None = None,
    ) -> "Detour":
        """What goes on into block `first`, and what is left behind.

        Args:
            x: tokens, `B N D`.
            context: what blocks are told of them.
            latents: how many of them may skip.
            draws: its seed is that of the draw; None where nothing is drawn, and so nothing skips.
            weaker: a way to go instead.
        """
        if weaker is not None:
            return Detour(x, context, _staying(weaker.order, _share(weaker.rate, latents), x.shape[1]))
        return Detour(x, context, None if draws is None else self.draw(draws, x, latents))

    def skipping(self, latents: int) -> int:
        """How many of so many latents skip: at least one stays."""
        return _share(self.rate, latents)

    def draw(self, draws: torch.Generator, x: Tensor, latents: int) -> Tensor:
        """Places of the tokens that stay, `B K` in rising order: some of the first `latents`, and all others.

        Args:
            draws: its seed is that of the draw; it is not advanced.
            x: tokens, `B N D`.
            latents: how many of them may skip.
        """
        from aaa.models.uncompiled import uniform  # which imports the compiler

        order = uniform(draws, "routing", (len(x), latents), x.device)
        return _staying(order, self.skipping(latents), x.shape[1])

    def tokens(self, number: int, latents: int, others: int) -> int:
        """How many tokens block `number` has while training, of so many latents and others."""
        return others + latents - (self.skipping(latents) if self.first <= number <= self.last else 0)


class Detour(NamedTuple):
    """What is left behind where tokens are taken out.

    Attributes:
        x: all tokens as they were, `B N D`.
        context: what blocks were told of all of them.
        places: of the tokens that stay, `B K`; None: all do.
        dropped: samples of which nothing that the blocks make is used, `B` bool; None: there are none (sprint.py).
        skips_blocks: whether all samples are dropped, so that the blocks need not be asked.
    """

    x: Tensor
    context: BlockContext
    places: Tensor | None
    dropped: Tensor | None = None
    skips_blocks: bool = False

    def staying(self) -> tuple[Tensor, BlockContext]:
        """The tokens that stay, `B K D`, and what blocks are told of them."""
        if self.places is None:
            return self.x, self.context
        return take(self.x, self.places), of_staying(self.context, self.places)

    def computed(self, latents: int) -> Tensor | None:
        """Which of the first tokens stay, `B latents` bool; None: all do."""
        if self.places is None:
            return None
        stays = torch.zeros(self.x.shape[:2], dtype=torch.bool, device=self.x.device)
        return stays.scatter(1, self.places, value=True)[:, :latents]

    def back(self, staying: Tensor) -> Tensor:
        """All tokens, `B N D`, of which those that stayed, `B K D`, are other ones by now."""
        if self.places is None:
            return staying
        return self.x.scatter(1, self.places[..., None].expand_as(staying), staying.to(self.x.dtype))


def _share(rate: float, latents: int) -> int:
    return min(int(rate * latents), latents - 1)


def _staying(order: Tensor, skipping: int, tokens: int) -> Tensor:
    """Places of the tokens that stay, `B K` in rising order, where the latents lowest in order, `B latents`, skip."""
    batch_size, latents = order.shape
    staying = order.argsort(dim=1)[:, skipping:].sort(dim=1).values
    others = torch.arange(latents, tokens, device=order.device).expand(batch_size, -1)
    return torch.cat([staying, others], dim=1)


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
