"""Change 3, a term with a target per picture in the cache and a projector that is not exported."""

import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from aaa.objectives.terms import Extra, ForwardPass, Term


def colours(images: Tensor, cell: int) -> Tensor:
    """Mean and spread of each colour in each cell, `B 6 H W`."""
    mean = reduce(images, "b c (h y) (w x) -> b c h w", "mean", y=cell, x=cell)
    square = reduce(images.square(), "b c (h y) (w x) -> b c h w", "mean", y=cell, x=cell)
    return rearrange([mean, (square - mean.square()).clamp(min=0).sqrt()], "two b c h w -> b (two c) h w")


class Aligned(Term):
    """Hidden states after a block, through a projector, against the colours of their places."""

    def __init__(self, weight: float, after_block: int, dim: int) -> None:
        super().__init__(weight)
        self.after_block, self.after_blocks = after_block, (after_block,)
        self.extras = {"colours": Extra(6, colours)}
        self.module = nn.Linear(dim, 6)

    def __call__(self, done: ForwardPass) -> Tensor:
        """Of each sample."""
        assert self.module is not None
        target = rearrange(done.batch.extras["colours"].float(), "b c h w -> b (h w) c")
        return F.mse_loss(self.module(done.hidden[self.after_block]).float(), target, reduction="none").mean(dim=(1, 2))
