"""DPM-Solver++: the clean picture is what is extrapolated, and the noise level is integrated exactly."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from aaa.diffusion.guidance import Predict
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step, ask


class DPMSolverPP2M:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2): second order for one question a step.

    With alpha = 1 - sigma and lambda = log(alpha / sigma), half the logarithm of the signal-to-noise ratio, a step from
    s to t of length h = lambda_t - lambda_s is

        x_t = sigma_t / sigma_s x_s - alpha_t (exp(-h) - 1) D,   D = (1 + 1 / 2r) x0_s - 1 / 2r x0_before,

    where r is the length of the step before over h. On flow's straight lines alpha_t (exp(-h) - 1) is
    sigma_t / sigma_s - 1, so that with D = x0_s, the clean picture that the model holds at s, a step is Euler's. So are
    the first step; the second one from pure noise, where lambda is minus infinity and so 1 / 2r is 0; and the last one,
    to where lambda is infinite.
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
        before: Tensor | None = None
        length_before = math.inf
        for sigma, next_sigma in progress(list(pairwise(sigmas))):
            clean = latents - sigma * ask(predict, latents, sigma)
            length = log_snr(next_sigma) - log_snr(sigma)
            extrapolated = clean
            if before is not None and next_sigma > 0:
                extrapolated = clean + length / (2 * length_before) * (clean - before)
            kept = next_sigma / sigma
            latents = kept * latents + (1 - kept) * extrapolated
            before, length_before = clean, length
            yield Step(latents, clean)


def log_snr(sigma: float) -> float:
    """Half the logarithm of the signal-to-noise ratio at a noise level: minus infinity at 1, infinity at 0."""
    if sigma in (0, 1):
        return math.inf if sigma == 0 else -math.inf
    return math.log((1 - sigma) / sigma)
