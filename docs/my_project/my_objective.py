"""What a model learns and how it is sampled, of another kind: each part small, and known to every command."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from aaa.diffusion.guidance import Predict
from aaa.diffusion.prediction import Model
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step, ask
from aaa.objectives.flow_matching import FlowMatching


class CleanPrediction:
    """The model's output is the clean picture; the velocity follows from it (JiT, Li and He 2025, arXiv 2511.13720).

    Args:
        least_sigma: below this noise level the division goes no further.
    """

    def __init__(self, least_sigma: float = 0.05) -> None:
        self.least_sigma = least_sigma

    def velocity(self, model: Model, noised: Tensor, prompt_embeds: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
        """From `noised = (1 - sigma) clean + sigma noise`: `noise - clean = (noised - clean) / sigma`."""
        clean = model(noised, prompt_embeds, timestep)
        return (noised - clean) / sigma.clamp(min=self.least_sigma).view(-1, 1, 1, 1)


class Small(FlowMatching):
    """Flow matching with one more term: the mean square of what is predicted for pure noise.

    Args:
        size_weight: of the term.
        arguments: as `FlowMatching`'s.
    """

    def __init__(self, size_weight: float, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.size_weight = size_weight

    def __call__(
        self, model: Model, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Both terms; each is logged, as `train/loss_velocity` and `train/loss_size`."""
        terms = super().__call__(model, latents, prompt_embeds, generator)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device, dtype=latents.dtype)
        predicted = model(noise, prompt_embeds, torch.full((len(latents),), 1000.0, device=latents.device))
        return terms | {"size": self.size_weight * predicted.float().square().mean(dim=(1, 2, 3))}


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
