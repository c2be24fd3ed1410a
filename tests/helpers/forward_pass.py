"""What terms of a loss are given, made up."""

from collections.abc import Mapping

import torch
from torch import Tensor

from aaa.data.batch import Batch
from aaa.diffusion.schedulers import NoiseLevels
from aaa.objectives.terms import Draws, ForwardPass


def forward_pass(
    size: int,
    hidden: Mapping[int, Tensor] | None = None,
    captions: list[int] | None = None,
    pictures: list[int] | None = None,
    dropped: list[int] | None = None,
    seed: int = 0,
    computed: Mapping[int, Tensor] | None = None,
) -> ForwardPass:
    """A pass over so many random samples of `3 2 2` latents.

    Args:
        size: samples.
        hidden: states by block.
        captions, pictures: numbers of these; all different if they are not given.
        dropped: places of those whose prompts are dropped.
        seed: of everything random.
        computed: places that blocks computed, where not all.
    """
    draws = torch.Generator().manual_seed(seed)
    latents, noise, velocity = (torch.randn(size, 3, 2, 2, generator=draws) for _ in range(3))
    sigma = torch.rand(size, generator=draws)
    batch = Batch(
        latents,
        torch.randn(size, 2, 4, generator=draws),
        torch.tensor(captions or range(size)),
        torch.tensor(pictures or range(size)),
    )
    is_dropped = torch.zeros(size, dtype=torch.bool)
    is_dropped[dropped or []] = True
    levels = NoiseLevels(sigma, 1000 * sigma, torch.ones(size))
    weight = 0.5 + torch.rand(size, generator=draws)
    return ForwardPass(
        batch,
        Draws(is_dropped, levels, noise),
        weight,
        velocity.requires_grad_(),
        hidden or {},
        lambda output: output,
        computed=computed or {},
    )
