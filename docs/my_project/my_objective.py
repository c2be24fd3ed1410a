"""What a model learns and how it is sampled, of another kind: each part small, and known to every command."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from aaa.diffusion.guidance import Predict
from aaa.diffusion.prediction import Model
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step, ask
from aaa.objectives.terms import ForwardPass, Term


class NoisePrediction:
    """The model's output is the noise (Ho et al. 2020, arXiv 2006.11239); the velocity follows from it.

    Args:
        least_signal: share of the picture below which the division goes no further.
    """

    def __init__(self, least_signal: float = 0.05) -> None:
        self.least_signal = least_signal

    def velocity(self, model: Model, noised: Tensor, prompt_embeds: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
        """From `noised = (1 - sigma) clean + sigma noise`: `noise - clean = (noise - noised) / (1 - sigma)`."""
        noise = model(noised, prompt_embeds, timestep)
        return (noise - noised) / (1 - sigma).clamp(min=self.least_signal).view(-1, 1, 1, 1)


class Size(Term):
    """A term of the loss: the mean square of the predicted velocity where there is much noise.

    Args:
        weight: in the loss.
        above_sigma: noise level from which on it counts.
        until_step: at which it ends; None for never.
    """

    def __init__(self, weight: float, above_sigma: float, until_step: int | None = None) -> None:
        super().__init__(weight, until_step)
        self.above_sigma = above_sigma

    def __call__(self, done: ForwardPass) -> Tensor:
        """Of each sample; it is logged times its weight, as `train/loss_size` beside `train/loss_velocity`."""
        counts = done.draws.levels.sigma >= self.above_sigma
        return done.velocity.float().square().mean(dim=(1, 2, 3)) * counts


class Midpoint:
    """The velocity half a step ahead, followed for the whole step: two questions to the model a step."""

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise,  # noqa: ARG002 - it adds none
        progress: ShowProgress = iter,
    ) -> Iterator[Step]:
        """From the first noise level to the last."""
        for sigma, next_sigma in progress(list(pairwise(sigmas))):
            middle = (sigma + next_sigma) / 2
            halfway = latents + ask(predict, latents, sigma) * (middle - sigma)
            velocity = ask(predict, halfway, middle)
            predicted = halfway - middle * velocity
            latents = latents + velocity * (next_sigma - sigma)
            yield Step(latents, predicted)
