"""Guidance: the velocity to follow, from what the model says with and without the prompt."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

# The velocity to follow from latents `B C H W`, given what the model is told of the noise level, and the level, 1 each.
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
# The velocity that a model holds for noised latents, prompt_embeds, timestep and sigma.
VelocityModel = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Guidance(Protocol):
    """A way to steer; named by `_target_` in conf/guidance, with its scale."""

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """What a sampler follows.

        Args:
            model: predicts velocity.
            prompt_embeds: what to draw, `B L D`.
            negative_prompt_embeds: what to steer away from, `B L D`; the empty prompt's as a rule.
        """
        ...


class PromptGuidance:
    """Classifier-free guidance (Ho and Salimans 2022): on from the negative prompt's velocity through the prompt's.

    Args:
        scale: 1 follows the prompt alone and spares the model's second pass.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """See `Guidance`."""
        both_embeds = torch.cat([prompt_embeds, negative_prompt_embeds])

        def predict(latents: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
            if self.scale == 1:
                return model(latents, prompt_embeds, timestep, sigma)
            positive, negative = model(latents.repeat(2, 1, 1, 1), both_embeds, timestep, sigma).chunk(2)
            return negative + self.scale * (positive - negative)

        return predict
