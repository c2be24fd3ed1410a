"""The training objective: flow matching along straight lines (Lipman et al. 2023, Liu et al. 2022)."""

from collections.abc import Callable

import torch
from torch import Tensor

from aaa.diffusion.schedulers import NoiseLevels, NoiseScheduler

Model = Callable[[Tensor, Tensor, Tensor], Tensor]


def add_noise(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The point at `sigma` (`B` float32) on the line from each of the `latents` to its `noise`, both `B C H W`."""
    sigma = sigma.view(-1, 1, 1, 1)
    return ((1 - sigma) * latents + sigma * noise).to(latents.dtype)


def flow_matching_loss(
    model: Model, latents: Tensor, prompt_embeds: Tensor, noise: Tensor, sigma: Tensor, timestep: Tensor
) -> Tensor:
    """Mean squared error of the predicted velocity, one value a sample, unweighted.

    Args:
        model: predicts velocity from noised latents, prompt_embeds and timestep.
        latents: clean latents, `B C H W`.
        prompt_embeds: `B L D`.
        noise: standard normal, like `latents`.
        sigma: noise levels in 0..1, `B` float32.
        timestep: what the model is told of them, `B` float32.

    Returns:
        Losses, `B` float32.
    """
    noised = add_noise(latents, noise, sigma)
    velocity = noise - latents  # rectified flow target
    predicted = model(noised, prompt_embeds, timestep)
    return (predicted.float() - velocity.float()).square().mean(dim=(1, 2, 3))


def training_loss(
    model: Model,
    latents: Tensor,
    prompt_embeds: Tensor,
    *,
    scheduler: NoiseScheduler,
    empty_prompt_embeds: Tensor,
    prompt_dropout: float,
    generator: torch.Generator,
) -> Tensor:
    """Flow-matching loss at random noise levels, some prompts replaced by the empty one for guidance.

    Args:
        model: predicts velocity from noised latents, prompt_embeds and timestep.
        latents: clean latents, `B C H W`.
        prompt_embeds: `B L D`.
        scheduler: draws noise levels and their weights.
        empty_prompt_embeds: of the empty prompt, `L D`.
        prompt_dropout: chance that a prompt is dropped (classifier-free guidance, Ho and Salimans 2022).
        generator: of all randomness, on the latents' device.

    Returns:
        Weighted loss of each sample, `B` float32.
    """
    dropped, (sigma, timestep, weight) = draw_dropout_and_levels(scheduler, len(latents), prompt_dropout, generator)
    if prompt_dropout:
        prompt_embeds = torch.where(dropped[:, None, None], empty_prompt_embeds, prompt_embeds)
    noise = torch.randn(latents.shape, generator=generator, device=latents.device, dtype=latents.dtype)
    return weight * flow_matching_loss(model, latents, prompt_embeds, noise, sigma, timestep)


def draw_dropout_and_levels(
    scheduler: NoiseScheduler, size: int, prompt_dropout: float, generator: torch.Generator
) -> tuple[Tensor, NoiseLevels]:
    """What is drawn first for a batch: whose prompts are dropped, `B` bool, and the noise levels."""
    dropped = torch.zeros(size, dtype=torch.bool, device=generator.device)
    if prompt_dropout:
        dropped = torch.rand(size, generator=generator, device=generator.device) < prompt_dropout
    return dropped, scheduler.draw(size, generator)
