"""Change 6, a model that draws while it trains: whole blocks left out for some samples."""

import torch
from torch import Tensor

from aaa.models.block import BlockContext, DiTBlock


class DropPath(DiTBlock):
    """Our block, which half of the samples skip while training (stochastic depth, Huang et al. 2016)."""

    draws_while_training = True

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        draws = context.generator(x.device)
        if draws is None:
            return super().forward(x, context)
        kept = torch.rand(len(x), 1, 1, generator=draws, device=x.device) < 0.5
        return torch.where(kept, super().forward(x, context), x)
