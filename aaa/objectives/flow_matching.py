"""Flow matching along straight lines (Lipman et al. 2023, Liu et al. 2022)."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aaa.diffusion.prediction import Model, Prediction
from aaa.diffusion.schedulers import NoiseLevels, NoiseScheduler, add_noise
from aaa.models.forward import in_training


class Draws(NamedTuple):
    """All that is random in the loss of a batch.

    Attributes:
        dropped: whose prompts are replaced by the empty one, `B` bool.
        levels: noise levels, with what the model is told of them and how much they count.
        noise: standard normal, `B C H W`.
    """

    dropped: Tensor
    levels: NoiseLevels
    noise: Tensor


class Objective(Protocol):
    """What is learned; named by `_target_` in conf/objective.

    Made with a noise scheduler, the embeddings of the empty prompt and the share of prompts to drop.

    Attributes:
        prediction: what the model predicts, by which it is also validated and sampled.
    """

    prediction: Prediction

    def draw(self, latents: Tensor, generator: torch.Generator) -> Draws:
        """What is random for a batch of latents: the same for the same generator."""
        ...

    def __call__(
        self, model: Model, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The terms of the loss by name, `B` float32 each; training minimises the mean of their sum."""
        ...


class FlowMatching:
    """Squared error of the velocity at random noise levels, some prompts dropped for classifier-free guidance.

    Args:
        scheduler: draws noise levels and their weights.
        empty_prompt_embeds: of the empty prompt, `L D`.
        prompt_dropout: chance that a prompt is dropped (Ho and Salimans 2022).
        prediction: what the model predicts.
    """

    def __init__(
        self, scheduler: NoiseScheduler, empty_prompt_embeds: Tensor, prompt_dropout: float, prediction: Prediction
    ) -> None:
        self.scheduler, self.prediction = scheduler, prediction
        self.empty_prompt_embeds, self.prompt_dropout = empty_prompt_embeds, prompt_dropout

    def draw(self, latents: Tensor, generator: torch.Generator) -> Draws:
        """Prompts to drop, noise levels and noise for latents, `B C H W`, from a generator on their device."""
        size, device = len(latents), latents.device
        dropped = torch.zeros(size, dtype=torch.bool, device=device)
        if self.prompt_dropout:
            dropped = torch.rand(size, generator=generator, device=device) < self.prompt_dropout
        levels = self.scheduler.draw(size, generator)
        noise = torch.randn(latents.shape, generator=generator, device=device, dtype=latents.dtype)
        return Draws(dropped, levels, noise)

    def __call__(
        self, model: Model, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The weighted loss of each sample, `B` float32, of latents `B C H W` and prompt_embeds `B L D`."""
        dropped, (sigma, timestep, weight), noise = self.draw(latents, generator)
        if self.prompt_dropout:
            prompt_embeds = torch.where(dropped[:, None, None], self.empty_prompt_embeds, prompt_embeds)
        noised = add_noise(latents, noise, sigma)
        predicted = self.prediction.velocity(in_training(model, generator), noised, prompt_embeds, timestep, sigma)
        return {"velocity": weight * velocity_error(predicted, latents, noise)}


def velocity_error(predicted: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of predicted velocities, `B` float32; all arguments `B C H W`."""
    velocity = noise - latents  # rectified flow target
    return (predicted.float() - velocity.float()).square().mean(dim=(1, 2, 3))
