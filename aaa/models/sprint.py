"""A sparse way through most blocks beside a dense one (SPRINT, Park et al. 2025, arXiv 2510.21986, section 3).

Blocks before `first` see all tokens: f. From there to `last` blocks see those of a share of each picture's latents, as
with TREAD: g. What they make is filled up with a mask token where latents were dropped, and fused with f for the blocks
that are left: `h = W [f, filled(g)]`. In a share of the samples all of g is masked (path drop), so that the model
without these blocks is a weaker model to steer away from. When sampling nothing is dropped, and the fusion stays: it
belongs to the model.

Fused are the latents' tokens; those of the prompt, which always stay, go through the blocks as they do without.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aaa.models.block import BlockContext
from aaa.models.forward import WeakerWay
from aaa.models.routing import Detour, Routing


@dataclass(frozen=True)
class Sprint(Routing):
    """Which tokens skip which blocks.

    Attributes:
        rate, first, last: as in `Routing`.
        path_drop: share of the samples of which all of what these blocks make is masked, in 0..1.
    """

    path_drop: float = 0.0

    def leave(
        self,
        x: Tensor,
        context: BlockContext,
        latents: int,
        draws: torch.Generator | None,
        weaker: WeakerWay | None = None,
    ) -> Detour:
        """See `Routing`. The weaker way is around all these blocks, whatever it says of single latents."""
        if weaker is not None:
            return Detour(x, context, None, torch.ones(len(x), dtype=torch.bool, device=x.device), skips_blocks=True)
        if draws is None:
            return Detour(x, context, None)
        return Detour(x, context, self.draw(draws, x, latents), self.draw_dropped(draws, x))

    def draw_dropped(self, draws: torch.Generator, x: Tensor) -> Tensor:
        """Which samples of `B N D` take no part in these blocks, `B` bool; `draws` is not advanced."""
        from aaa.models.uncompiled import uniform  # which imports the compiler

        return uniform(draws, "path drop", (len(x),), x.device) < self.path_drop


class Fusion(nn.Module):
    """`W [f, filled(g)]` with the mask token.

    Args:
        dim: width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(0.02 * torch.randn(dim))
        self.project = nn.Linear(2 * dim, dim)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start as the mean of both ways: no token loses what it held, and both have gradients.

        Blocks start as small steps, so that the mean is nearly what either way holds.
        """
        half = 0.5 * torch.eye(len(self.mask_token))
        self.project.weight.copy_(torch.cat([half, half], dim=1))
        nn.init.zeros_(self.project.bias)

    def forward(self, detour: Detour, deep: Tensor, latents: int) -> Tensor:
        """All tokens, `B N D`, for the block after `last`.

        Args:
            detour: what was left behind before `first`.
            deep: what the blocks made of the tokens that stayed, `B K D`.
            latents: how many tokens are fused, the first ones.
        """
        early, mask = detour.x, self.mask_token.to(deep.dtype)
        filled = deep
        if detour.places is not None:
            filled = mask.expand_as(early).scatter(1, detour.places[..., None].expand_as(deep), deep)
        others = filled[:, latents:]
        if detour.dropped is not None:
            dropped = detour.dropped[:, None, None]
            filled, others = torch.where(dropped, mask, filled), torch.where(dropped, early[:, latents:], others)
        fused = self.project(torch.cat([early[:, :latents], filled[:, :latents]], dim=-1))
        return torch.cat([fused.to(early.dtype), others.to(early.dtype)], dim=1)
