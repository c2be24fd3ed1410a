"""Mean and standard deviation of each latent channel: how the latents of a data set are brought to unit variance."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

# Of FLUX.2's latent batch norm: a channel that never varies is not blown up.
EPSILON = 1e-4


@dataclass(frozen=True)
class LatentStatistics:
    """Statistics of latents by channel.

    Attributes:
        mean, std: one number a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents, `B C H W`, with mean 0 and variance 1 in each channel, over the data they were taken from."""
        return (latents - _by_channel(self.mean, latents)) / _by_channel(self.std, latents)

    def denormalise(self, latents: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return latents * _by_channel(self.std, latents) + _by_channel(self.mean, latents)


class Moments:
    """Sums over latents that come batch by batch, from which their statistics follow. In float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, latents: Tensor) -> None:
        """Count these latents, `B C H W`, in."""
        values = latents.detach().to("cpu", torch.float64).transpose(0, 1).flatten(1)  # C N
        self._count += values.shape[1]
        self._sum = self._sum + values.sum(dim=1)
        self._squares = self._squares + values.square().sum(dim=1)

    def mean(self) -> Tensor:
        """Of everything that was added, by channel, `C` float64."""
        return torch.as_tensor(self._sum) / self._count

    def variance(self) -> Tensor:
        """Of everything that was added, by channel, `C` float64."""
        return (torch.as_tensor(self._squares) / self._count - self.mean().square()).clamp(min=0)

    def statistics(self) -> LatentStatistics:
        """What to normalise by."""
        return LatentStatistics(tuple(self.mean().tolist()), tuple((self.variance() + EPSILON).sqrt().tolist()))


def _by_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return _as_tensor(values, like.dtype, like.device)


@lru_cache(maxsize=8)  # a GPU would be waited for each time that numbers are sent to it
def _as_tensor(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)[:, None, None]


def pooled(parts: Sequence[tuple[LatentStatistics, int]]) -> LatentStatistics:
    """The statistics of everything together.

    Args:
        parts: statistics of each part, and how many values of a channel it has.
    """
    counts = torch.tensor([count for _, count in parts], dtype=torch.float64)[:, None]
    means = torch.tensor([part.mean for part, _ in parts], dtype=torch.float64)  # P C
    variances = torch.tensor([part.std for part, _ in parts], dtype=torch.float64).square() - EPSILON
    mean = (counts * means).sum(dim=0) / counts.sum()
    variance = (counts * (variances + (means - mean).square())).sum(dim=0) / counts.sum()
    return LatentStatistics(tuple(mean.tolist()), tuple((variance + EPSILON).sqrt().tolist()))
