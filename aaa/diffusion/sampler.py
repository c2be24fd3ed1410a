"""From noise to latents: Euler steps along the predicted velocity, with classifier-free guidance."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor

from aaa.diffusion.loss import Model
from aaa.diffusion.schedulers import TRAIN_TIMESTEPS


@torch.no_grad()
def euler_sample(
    model: Model,
    latents: Tensor,
    prompt_embeds: Tensor,
    negative_prompt_embeds: Tensor,
    sigmas: Iterable[float],
    guidance: float,
    progress: Callable[[list[tuple[float, float]]], Iterable[tuple[float, float]]] = iter,
) -> Tensor:
    """Follow the velocity from the first noise level to the last.

    Args:
        model: predicts velocity from noised latents, prompt_embeds and timestep.
        latents: at the first noise level: pure noise, or a picture's latents noised; `B C H W`.
        prompt_embeds: what to draw, `B L D`.
        negative_prompt_embeds: what to steer away from, `B L D`; the empty prompt's as a rule.
        sigmas: noise levels, falling, the last one 0.
        guidance: classifier-free guidance scale (Ho and Salimans 2022); 1 skips the negative prompt.
        progress: wraps the list of steps, to show how far it is (`tqdm`, say).

    Returns:
        Clean latents, `B C H W`.
    """
    levels = [float(sigma) for sigma in sigmas]
    both_embeds = torch.cat([prompt_embeds, negative_prompt_embeds])
    for sigma, next_sigma in progress(list(pairwise(levels))):
        # In bf16 the model is told rounded timesteps, as DiffSynth's pipelines do and as its training has them.
        timestep = torch.tensor([sigma * TRAIN_TIMESTEPS], device=latents.device, dtype=latents.dtype)
        if guidance == 1:
            velocity = model(latents, prompt_embeds, timestep)
        else:
            positive, negative = model(latents.repeat(2, 1, 1, 1), both_embeds, timestep).chunk(2)
            velocity = negative + guidance * (positive - negative)
        latents = latents + velocity.to(latents.dtype) * (next_sigma - sigma)
    return latents


def initial_noise(seeds: Iterable[int], shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise for one picture a seed, `B C H W` float32, drawn on the CPU on every machine."""
    return torch.cat([torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
