"""Samplers: from noise to latents along the velocity."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aaa.diffusion.guidance import Predict
from aaa.diffusion.schedulers import TRAIN_TIMESTEPS

# Wraps the list of steps, to show how far a sampler is (`tqdm`, say).
ShowProgress = Callable[[list[tuple[float, float]]], Iterable[tuple[float, float]]]


class Step(NamedTuple):
    """Where the sampler is.

    Attributes:
        latents: at the noise level that it has come to, `B C H W`.
        predicted: what the model holds for the clean latents at the level before, `B C H W`.
    """

    latents: Tensor
    predicted: Tensor


class Sampler(Protocol):
    """A way from the first noise level to the last; named by `_target_` in conf/sampler."""

    def __call__(
        self, predict: Predict, latents: Tensor, sigmas: Sequence[float], progress: ShowProgress = iter
    ) -> Iterator[Step]:
        """Follow the velocity, a step at a time.

        Args:
            predict: the velocity to follow.
            latents: at the first noise level: pure noise, or a picture's latents noised; `B C H W`.
            sigmas: noise levels, falling, the last one 0.
            progress: shows how far it is.
        """
        ...


class Euler:
    """Straight on along the velocity at each level: one question to the model a step."""

    def __call__(
        self, predict: Predict, latents: Tensor, sigmas: Sequence[float], progress: ShowProgress = iter
    ) -> Iterator[Step]:
        """See `Sampler`."""
        for sigma, next_sigma in progress(list(pairwise(sigmas))):
            velocity = ask(predict, latents, sigma)
            predicted = latents - sigma * velocity
            latents = latents + velocity * (next_sigma - sigma)
            yield Step(latents, predicted)


@torch.no_grad()
def ask(predict: Predict, latents: Tensor, sigma: float) -> Tensor:
    """The velocity at a noise level, in the latents' dtype.

    In bf16 the model is told rounded timesteps, as DiffSynth's pipelines do and as its training has them.
    """
    timestep = torch.tensor([sigma * TRAIN_TIMESTEPS], device=latents.device, dtype=latents.dtype)
    level = torch.tensor([sigma], device=latents.device)
    return predict(latents, timestep, level).to(latents.dtype)


def initial_noise(seeds: Iterable[int], shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise for one picture a seed, `B C H W` float32, drawn on the CPU on every machine."""
    return torch.cat([torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
