"""Change 5, a way to draw: Heun's method, and guidance within an interval of noise levels."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from aaa.diffusion.guidance import Predict, VelocityModel
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step, ask


class OutsideHeun:
    """The mean of the velocities at both ends of a step; the last step, to no noise at all, is Euler's."""

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise,  # noqa: ARG002 - it adds none
        progress: ShowProgress = iter,
    ) -> Iterator[Step]:
        """From the first noise level to the last."""
        for sigma, following in progress(list(pairwise(sigmas))):
            velocity = ask(predict, latents, sigma)
            ahead = latents + velocity * (following - sigma)
            if following:
                ahead = latents + (velocity + ask(predict, ahead, following)) / 2 * (following - sigma)
            yield Step(ahead, latents - sigma * velocity)
            latents = ahead


class WithinInterval:
    """Classifier-free guidance between two noise levels; outside them the prompt alone."""

    reads_negative_prompt = True

    def __init__(self, scale: float, low: float, high: float) -> None:
        self.scale, self.low, self.high = scale, low, high

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """The velocity to follow."""

        def predict(latents: Tensor, sigma: float) -> Tensor:
            positive = model(latents, prompt_embeds, sigma)
            if self.passes(sigma) == 1:
                return positive
            negative = model(latents, negative_prompt_embeds, sigma)
            return negative + self.scale * (positive - negative)

        return predict

    def passes(self, sigma: float) -> int:
        """Through the model."""
        return 2 if self.low <= sigma <= self.high else 1
