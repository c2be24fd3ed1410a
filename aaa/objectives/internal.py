"""A second head in the middle (Internal Guidance, CVPR 2026, arXiv 2512.24176): deep supervision of a block."""

import torch
from einops import rearrange
from torch import Tensor, nn

from aaa.objectives.flow_matching import velocity_error
from aaa.objectives.terms import ForwardPass, Term


class Internal(Term):
    """The error of what a linear head predicts from a block's tokens, of the same kind and on the same target.

    The head helps to train the blocks before it and stays behind in the checkpoints: guidance by the difference of both
    heads would need it in the exported model, which has what the model's class has.

    Args:
        weight: in the loss.
        after_block: number of the block, from 1; the paper's is at a third of the depth, and later ones hurt.
        dim: width of hidden states.
        latent_channels: of the latents.
        until_step: see `Term`.
    """

    def __init__(
        self, weight: float, after_block: int, dim: int, latent_channels: int, until_step: int | None = None
    ) -> None:
        super().__init__(weight, until_step)
        self.after_block, self.after_blocks = after_block, (after_block,)
        if weight:
            self.module = nn.Linear(dim, latent_channels)
            with torch.no_grad():  # as the model's own head starts: from nothing
                for parameter in self.module.parameters():
                    parameter.zero_()

    def __call__(self, done: ForwardPass) -> Tensor:
        """See `Term`."""
        assert self.module is not None
        clean, noise = done.batch.latents, done.draws.noise
        output = rearrange(self.module(done.hidden[self.after_block]), "b (h w) c -> b c h w", h=clean.shape[2])
        return done.weight * velocity_error(done.velocity_of(output), clean, noise)
