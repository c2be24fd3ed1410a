"""Samplers: from noise to latents along the velocity."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aaa.diffusion.guidance import Predict

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


class SeededNoise:
    """Standard normal noise for pictures that each have a seed: each call goes on where the last one ended.

    Each picture has a generator of its own, so that it depends on its seed alone, whatever is drawn beside it; they are
    on the CPU, so that it does not depend on the machine either.

    Args:
        seeds: of the pictures.
    """

    def __init__(self, seeds: Iterable[int]) -> None:
        self.seeds = tuple(seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        """Noise of this shape, `C H W`, for each picture: `B C H W` float32."""
        return torch.cat([torch.randn(1, *shape, generator=generator) for generator in self._generators])


class Sampler(Protocol):
    """A way from the first noise level to the last; named by `_target_` in conf/sampler."""

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise,
        progress: ShowProgress = iter,
    ) -> Iterator[Step]:
        """Follow the velocity, a step at a time.

        Args:
            predict: the velocity to follow; `ask` asks it.
            latents: at the first noise level: pure noise, or a picture's latents noised; `B C H W`.
            sigmas: noise levels, falling, the last one 0.
            noise: more of it, for samplers that add some on their way.
            progress: shows how far it is.
        """
        ...


class Euler:
    """Straight on along the velocity at each level: one question to the model a step."""

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
            latents = latents + velocity * (next_sigma - sigma)
            yield Step(latents, predicted)


@torch.no_grad()
def ask(predict: Predict, latents: Tensor, sigma: float) -> Tensor:
    """The velocity at a noise level, in the latents' dtype.

    That is float32 however the model computes: in bf16 small steps would be rounded away, and many of them leave noise.
    """
    return predict(latents, sigma).to(latents.dtype)
