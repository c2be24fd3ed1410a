"""From noise to latents: Euler steps along the predicted velocity, with classifier-free guidance."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.diffusion.loss import Model
from aaa.diffusion.schedulers import TRAIN_TIMESTEPS


class Step(NamedTuple):
    """Where the sampler is.

    Attributes:
        latents: at the noise level that it has come to, `B C H W`.
        predicted: what the model holds for the clean latents at the level before, `B C H W`.
    """

    latents: Tensor
    predicted: Tensor


def euler_steps(
    model: Model,
    latents: Tensor,
    prompt_embeds: Tensor,
    negative_prompt_embeds: Tensor,
    sigmas: Iterable[float],
    guidance: float,
    progress: Callable[[list[tuple[float, float]]], Iterable[tuple[float, float]]] = iter,
) -> Iterator[Step]:
    """Follow the velocity from the first noise level to the last, a step at a time.

    Args:
        model: predicts velocity from noised latents, prompt_embeds and timestep.
        latents: at the first noise level: pure noise, or a picture's latents noised; `B C H W`.
        prompt_embeds: what to draw, `B L D`.
        negative_prompt_embeds: what to steer away from, `B L D`; the empty prompt's as a rule.
        sigmas: noise levels, falling, the last one 0.
        guidance: classifier-free guidance scale (Ho and Salimans 2022); 1 skips the negative prompt.
        progress: wraps the list of steps, to show how far it is (`tqdm`, say).
    """
    levels = [float(sigma) for sigma in sigmas]
    both_embeds = torch.cat([prompt_embeds, negative_prompt_embeds])
    for sigma, next_sigma in progress(list(pairwise(levels))):
        # In bf16 the model is told rounded timesteps, as DiffSynth's pipelines do and as its training has them.
        timestep = torch.tensor([sigma * TRAIN_TIMESTEPS], device=latents.device, dtype=latents.dtype)
        with torch.no_grad():
            if guidance == 1:
                velocity = model(latents, prompt_embeds, timestep)
            else:
                positive, negative = model(latents.repeat(2, 1, 1, 1), both_embeds, timestep).chunk(2)
                velocity = negative + guidance * (positive - negative)
        velocity = velocity.to(latents.dtype)
        predicted = latents - sigma * velocity
        latents = latents + velocity * (next_sigma - sigma)
        yield Step(latents, predicted)


def euler_sample(
    model: Model,
    latents: Tensor,
    prompt_embeds: Tensor,
    negative_prompt_embeds: Tensor,
    sigmas: Iterable[float],
    guidance: float,
    progress: Callable[[list[tuple[float, float]]], Iterable[tuple[float, float]]] = iter,
) -> Tensor:
    """Clean latents, `B C H W`: where `euler_steps` ends."""
    arguments = prompt_embeds, negative_prompt_embeds, sigmas, guidance, progress
    last = deque(euler_steps(model, latents, *arguments), maxlen=1)
    return last.pop().latents if last else latents


def initial_noise(seeds: Iterable[int], shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise for one picture a seed, `B C H W` float32, drawn on the CPU on every machine."""
    return torch.cat([torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
