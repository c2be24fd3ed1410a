"""Which statistics latents are normalised by where training starts from weights that were trained with some."""

import logging
from pathlib import Path
from statistics import median

from aaa.encoders.statistics import LatentStatistics

logger = logging.getLogger(__name__)

FAR = 4.0  # deviations that latents may be from 0, and times that theirs may differ: data differ by less, VAEs by more


def taken_statistics(
    of_weights: LatentStatistics | None, of_data: LatentStatistics | None, channels: int, weights: Path
) -> LatentStatistics | None:
    """Those that the weights were trained with, or None: those of the data, of which nothing is said then.

    Weights of another VAE have others altogether, by which latents of this one would come out many times too large.

    Args:
        of_weights: of the latents that they were trained on, if these were normalised by any.
        of_data: of the latents that are trained on now.
        channels: of these.
        weights: where they are, for messages.
    """
    # Weights of which only a part fits may be of latents of another number of channels.
    if of_weights is None or len(of_weights.mean) != channels or of_weights == of_data:
        return None
    offset, spread = (0.0, 1.0) if of_data is None else _by_other(of_data, of_weights)
    said = f"by these, latents of these data are {offset:.2g} from 0, with a deviation of {spread:.2g}"
    if offset > FAR or not 1 / FAR <= spread <= FAR:
        logger.warning(
            "The weights in %s were trained with statistics of another VAE: %s. Latents are normalised by the data's "
            "own statistics.",
            weights,
            said,
        )
        return None
    logger.info("Latents are normalised by the statistics that the weights in %s were trained with; %s.", weights, said)
    return of_weights


def _by_other(of_data: LatentStatistics, other: LatentStatistics) -> tuple[float, float]:
    """How far from 0 latents are by other statistics, and their standard deviation, each in the median channel."""
    offsets = [abs(own - its) / std for own, its, std in zip(of_data.mean, other.mean, other.std, strict=True)]
    return median(offsets), median(own / its for own, its in zip(of_data.std, other.std, strict=True))
