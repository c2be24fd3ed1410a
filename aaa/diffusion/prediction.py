"""What a model predicts of a noised picture, and the velocity that follows from it.

Training, validation, sample grids, `aaa.sample`, evaluations, the web page and the DiffSynth pipeline all ask for
velocity, so that a model of another prediction is trained, judged and sampled without any of them knowing.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

# Predicts from noised latents `B C H W`, prompt_embeds `B L D` and timestep (`B`, or 1 for all alike).
Model = Callable[[Tensor, Tensor, Tensor], Tensor]


class Prediction(Protocol):
    """What a model's output means; named by `objective.prediction` in conf/objective."""

    def velocity(self, model: Model, noised: Tensor, prompt_embeds: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
        """The velocity `noise - latents` that a model holds for noised latents.

        Args:
            model: gives whatever it predicts.
            noised: latents at noise level `sigma`, `B C H W`.
            prompt_embeds: `B L D`.
            timestep: what the model is told of the noise level, `B` or 1.
            sigma: the noise level itself, in 0..1, `B` or 1, float32.

        Returns:
            Velocity, `B C H W`.
        """
        ...


class VelocityPrediction:
    """The model's output is the velocity (rectified flow, Liu et al. 2022)."""

    def velocity(
        self,
        model: Model,
        noised: Tensor,
        prompt_embeds: Tensor,
        timestep: Tensor,
        sigma: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """What the model says."""
        return model(noised, prompt_embeds, timestep)
