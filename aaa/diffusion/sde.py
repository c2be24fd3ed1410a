"""Sampling by the stochastic differential equation that has the flow's distributions: noise added and removed."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from aaa.device_copies import copied
from aaa.diffusion.guidance import Predict
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step, ask
from aaa.errors import UserError


class Sde:
    """The reverse-time SDE of SiT (Ma et al. 2024, arXiv 2401.08740, section 2), by Euler and Maruyama's method.

        dx = v dt - 1/2 w s dt + sqrt(w) dW,   s = -(x + (1 - sigma) v) / sigma,   w = noise * sigma

    Here dt is negative, from noise to the picture, v is the velocity and s the score that follows from it: minus the
    noise that the model holds to be in x, over sigma. Whatever w is, x has the same distribution at each noise level;
    with w falling as sigma does (one of the paper's choices) nothing is divided by 0. What the score takes away, fresh
    noise puts back, so that errors made on the way are forgotten. The last step adds none. The same seed gives the
    same picture.

    Args:
        noise: how much is added and removed; 0 is Euler's way.

    Raises:
        UserError: if it is below 0.
    """

    def __init__(self, noise: float = 1.0) -> None:
        if not 0 <= noise < math.inf:
            raise UserError(f"sampler.noise={noise}: must be at least 0, and finite.")
        self.noise = noise

    def __call__(
        self,
        predict: Predict,
        latents: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise,
        progress: ShowProgress = iter,
    ) -> Iterator[Step]:
        """See `Sampler`."""
        for sigma, next_sigma in progress(list(pairwise(sigmas))):
            velocity = ask(predict, latents, sigma)
            predicted = latents - sigma * velocity
            length = sigma - next_sigma
            held_noise = latents + (1 - sigma) * velocity
            latents = latents - length * velocity
            if next_sigma > 0:
                # -1/2 w s dt, in which w / sigma is `noise`, and sqrt(w) dW.
                fresh = copied(noise(tuple(latents.shape[1:])).to(latents.dtype), latents.device)
                latents = (
                    latents - self.noise / 2 * length * held_noise + math.sqrt(self.noise * sigma * length) * fresh
                )
            yield Step(latents, predicted)
