"""Dispersive loss (Wang and He 2025, arXiv 2506.09027): hidden states of different samples spread out."""

import math

import torch
from einops import rearrange
from torch import Tensor

from aaa.objectives.terms import ForwardPass, Term


class Dispersive(Term):
    """A contrastive loss without positive pairs on what a block holds: InfoNCE's variant there, with squared distances.

    `log mean_ij exp(-|z_i - z_j|^2 / (D tau))` over all pairs of the batch, a sample with itself included, where `z` is
    everything that is held of a sample's latents, also of those that skip the block, and `D` how many numbers that is.
    The division by `D`, which is in the authors' code and not in the equation, keeps the exponential from vanishing,
    and its gradient with it.

    Args:
        weight: in the loss; the paper has 0.5.
        after_block: number of the block, from 1; the paper's best is at a quarter of the depth.
        temperature: tau.
        until_step: see `Term`.
    """

    recordable = True

    def __init__(
        self, weight: float, after_block: int, temperature: float = 0.5, until_step: int | None = None
    ) -> None:
        super().__init__(weight, until_step)
        self.after_block, self.after_blocks, self.temperature = after_block, (after_block,), temperature

    def __call__(self, done: ForwardPass) -> Tensor:
        """See `Term`; it is a number of the batch, and the same for each of its samples."""
        z = rearrange(done.hidden[self.after_block].float(), "b n d -> b (n d)")
        return dispersion(z, self.temperature).expand(len(z))


def dispersion(z: Tensor, temperature: float) -> Tensor:
    """`log mean_ij exp(-|z_i - z_j|^2 / (D temperature))` of `z`, `B D`."""
    norms = z.square().sum(dim=1)
    distances = (norms[:, None] + norms - 2 * z @ z.T).clamp(min=0) / z.shape[1]  # B B
    exponents = -distances.fill_diagonal_(0) / temperature
    return torch.logsumexp(exponents.flatten(), dim=0) - math.log(exponents.numel())
