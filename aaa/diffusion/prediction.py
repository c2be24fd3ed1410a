"""What a model predicts of a noised picture, and the velocity that follows from it.

(What it is compared with in training is in objectives/flow_matching.py.)

Training, validation, sample grids, `aaa.sample`, evaluations and the web page all ask for velocity, so that a model of
another prediction is trained, judged and sampled without any of them knowing. (The DiffSynth pipeline takes models of
velocity, as the tutorial's is: DiffSynth's loader tells it nothing but the weights.)
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from aaa.errors import require_number

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

    recordable = True

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


class CleanPrediction:
    """The model's output is the clean picture (JiT, Li and He 2025, arXiv 2511.13720); errors are still velocity's.

    From `noised = (1 - sigma) x + sigma noise` follows `noise - x = (noised - x) / sigma`. The division goes no further
    than `least_sigma`, as there: `v = (noised - x) / max(sigma, least_sigma)`. Training, `val/loss` and the samplers
    follow the one velocity. Below `least_sigma` it is the right one if the output goes on from the clean picture a
    little, away from the noise; where the output is just the clean picture, the velocity is short by
    `1 - sigma / least_sigma`. In `val/loss`, whose noise levels are uniform, that is at most `least_sigma / 3` of the
    mean square of velocity (1.7% at 0.05, 6.7% at 0.2), all of it in the lowest band, `val/loss_sigma_0.0_0.2`. Without
    the bound each error there would be divided by sigma instead, and the lowest levels would outweigh all others.

    They still weigh much: an error of the picture is an error `1 / max(sigma, least_sigma)` times as large of the
    velocity, though it moves no picture further. Models of this and of the other prediction are compared by the
    higher bands, `val/loss_sigma_0.2_0.4` and up, or by their pictures.

    An output of 0, which is what `model.init=scaled` starts with, is a grey picture.

    Args:
        least_sigma: the bound, in (0, 1).
    """

    recordable = True

    def __init__(self, least_sigma: float = 0.05) -> None:
        require_number("objective.prediction.least_sigma", least_sigma, above=0, below=1)
        self.least_sigma = least_sigma

    def velocity(self, model: Model, noised: Tensor, prompt_embeds: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
        """From what the model holds for the clean picture; see `Prediction`."""
        clean = model(noised, prompt_embeds, timestep)
        return (noised - clean) / sigma.clamp(min=self.least_sigma).view(-1, 1, 1, 1)
