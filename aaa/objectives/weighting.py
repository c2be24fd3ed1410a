"""How much the velocity's error counts at each noise level, apart from how often the level is drawn.

With a density of noise levels, a weight makes one effective weighting (Kingma and Gao 2023, arXiv 2303.00848); here
the two are two settings, so that a sweep can take them as two axes.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from aaa.diffusion.schedulers import TRAIN_TIMESTEPS, NoiseLevels
from aaa.errors import require_number, require_one_of

# Weights, `B` float32, of the losses at these noise levels.
Weighting = Callable[[NoiseLevels], Tensor]
FLUX2_TRAINING_MU = 0.8


def make_weighting(name: str, min_snr_gamma: float, least_sigma: float = 0.0) -> Weighting:
    """The weighting that `objective.weighting` names.

    Args:
        name: of it.
        min_snr_gamma: of `min_snr`.
        least_sigma: the least that an error of the picture is divided by to make one of velocity; 0 where velocity is
            predicted.

    Raises:
        UserError: if there is none of this name, or gamma is no bound.
    """
    require_number("objective.min_snr_gamma", min_snr_gamma, above=0)
    weightings: dict[str, Weighting] = {
        "scheduler": of_scheduler,
        "none": none,
        "flux2": flux2,
        "min_snr": partial(min_snr, gamma=min_snr_gamma, least_sigma=least_sigma),
    }
    require_one_of("objective.weighting", name, weightings)
    return weightings[name]


def of_scheduler(levels: NoiseLevels) -> Tensor:
    """What the noise scheduler itself says: FLUX.2's its bell, the others 1."""
    return levels.weight


def none(levels: NoiseLevels) -> Tensor:
    """Every noise level alike."""
    return torch.ones_like(levels.sigma)


def min_snr(levels: NoiseLevels, gamma: float, least_sigma: float = 0.0) -> Tensor:
    """Min-SNR weights (Hang et al. 2023, arXiv 2303.09556) for velocity along straight lines.

    There the loss of a predicted clean picture is weighted by `min(SNR, gamma)`. On the line
    `z = (1 - sigma) x + sigma n` the signal-to-noise ratio is `((1 - sigma) / sigma)^2`, and a velocity `v` says that
    `x = z - sigma v`, so that an error of the picture is sigma times that of the velocity. Hence for the latter
    `sigma^2 min(SNR, gamma) = min((1 - sigma)^2, gamma sigma^2)`. Where a predicted picture makes the velocity, by a
    division that goes no further than `least_sigma`, it is `least_sigma^2 min(SNR, gamma)` below that level.
    """
    sigma = levels.sigma
    weight = torch.minimum((1 - sigma).square(), gamma * sigma.square())
    if not least_sigma:
        return weight
    ratio = ((1 - sigma) / sigma.clamp(min=torch.finfo(sigma.dtype).tiny)).square().clamp(max=gamma)
    return torch.where(sigma < least_sigma, least_sigma**2 * ratio, weight)


def flux2(levels: NoiseLevels) -> Tensor:
    """DiffSynth's bell for FLUX.2 as a function of the noise level: highest at a half, 0 at no noise and at pure noise.

    `exp(-2 (sigma - 1/2)^2) - exp(-1/2)`, times what makes its mean 1 over the 1000 levels that `scheduler=flux2`
    draws.
    """
    return _bell(levels.sigma) * _flux2_scale()


def _bell(sigma: Tensor) -> Tensor:
    return (-2 * (sigma - 0.5).square()).exp() - math.exp(-0.5)


@cache
def _flux2_scale() -> float:
    """One over the bell's mean over FLUX.2's training levels, which are equal steps shifted by mu."""
    steps = torch.linspace(1, 0, TRAIN_TIMESTEPS + 1, dtype=torch.float64)[:-1]
    sigmas = math.exp(FLUX2_TRAINING_MU) / (math.exp(FLUX2_TRAINING_MU) + 1 / steps - 1)
    return 1 / _bell(sigmas).mean().item()
