"""Heun's method: the mean of the velocities at both ends of a step."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from aaa.diffusion.guidance import Predict
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step, ask


class Heun:
    """An Euler step, then the same step by the mean of the velocities where it began and where it ended.

    Of second order, for two questions to the model a step. The last step is Euler's, as there is nothing to ask at
    noise level 0 (Karras et al. 2022, arXiv 2206.00364, algorithm 1; JiT, Li and He 2025, arXiv 2511.13720, draws
    with it).
    """

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise,  # noqa: ARG002
        progress: ShowProgress = iter,
    ) -> Iterator[Step]:
        """See `Sampler`."""
        for sigma, next_sigma in progress(list(pairwise(sigmas))):
            velocity = ask(predict, latents, sigma)
            predicted = latents - sigma * velocity
            ahead = latents + velocity * (next_sigma - sigma)
            if next_sigma > 0:
                velocity = (velocity + ask(predict, ahead, next_sigma)) / 2
                ahead = latents + velocity * (next_sigma - sigma)
            latents = ahead
            yield Step(latents, predicted)
