"""How far two sets of vectors are apart as distributions, and how sure that is."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Of inner products of vectors, and their own with themselves, to how alike they are.
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

BLOCKS = 10  # of the jackknife
ROWS = 1024  # of a kernel that are computed at once


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Squared Wasserstein-2 distance of the normal distributions with these means and covariances.

    As in the Frechet inception distance (Heusel et al. 2017, arXiv 1706.08500), over any features. It falls with the
    number of vectors even where nothing else changes: only compare distances of equally many.

    Args:
        one, other: vectors, `N D` and `M D`; at least two of each, and more than D for covariances of full rank.
    """
    return frechet_of_moments(*moments(one), *moments(other))


def moments(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, `D`, and covariance, `D D`, of vectors, `N D`, in float64."""
    vectors = vectors.double()
    return vectors.mean(0), torch.atleast_2d(torch.cov(vectors.T))


def frechet_of_moments(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """The same distance of two normal distributions, by their means, `D`, and covariances, `D D`, in float64."""
    difference = (mean - other_mean).square().sum()
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    return (difference + (covariance.trace() + other_covariance.trace()) - 2 * cross).item()


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel `(x y / D + 1)^3`.

    As in the kernel inception distance (Binkowski et al. 2018, arXiv 1801.01401), over any features: its expectation
    does not depend on the number of vectors, and is 0 for equal distributions.

    Args:
        one, other: vectors, `N D` and `M D`, at least two of each.
    """
    dim = one.shape[1]
    return _mean_discrepancy(one, other, lambda products, _one, _other: (products / dim + 1) ** 3)


def gaussian_kernel_distance(one: Tensor, other: Tensor, sigma: float) -> float:
    """The same under the kernel `exp(-|x - y|^2 / (2 sigma^2))`, as in CMMD.

    Jayasumana et al. 2024 (arXiv 2401.09603) define it so, a thousand times as large. Their program has the biased
    estimator instead, which compares each vector with itself as well: it is larger, by `1 / N + 1 / M` at most.

    Args:
        one, other: vectors, `N D` and `M D`, at least two of each.
        sigma: width of the kernel, in lengths of vectors.
    """

    def gaussian(products: Tensor, of_one: Tensor, of_other: Tensor) -> Tensor:
        return ((2 * products - of_one - of_other) / (2 * sigma**2)).exp()

    return _mean_discrepancy(one, other, gaussian)


def jackknife_error(distance: Callable[[Tensor, Tensor], float], one: Tensor, other: Tensor) -> float:
    """Standard error of a distance from leaving out a block of the first set at a time (Tukey's jackknife).

    Args:
        distance: of two sets of vectors.
        one: the set whose choice is the uncertainty, `N D`, in any order that is no order.
        other: what it is compared with, `M D`.
    """
    blocks = min(BLOCKS, len(one))
    rows = torch.arange(len(one))
    left_out = [distance(one[rows % blocks != block], other) for block in range(blocks)]
    mean = sum(left_out) / blocks
    return math.sqrt((blocks - 1) / blocks * sum((value - mean) ** 2 for value in left_out))


def _mean_discrepancy(one: Tensor, other: Tensor, kernel: Kernel) -> float:
    one, other = one.double(), other.double()
    within = []
    for vectors in (one, other):
        count = len(vectors)
        squares = vectors.square().sum(1)
        with_itself = kernel(squares, squares, squares).sum()
        within.append((_kernel_sum(vectors, vectors, kernel) - with_itself) / (count * (count - 1)))
    return (within[0] + within[1] - 2 * _kernel_sum(one, other, kernel) / (len(one) * len(other))).item()


def _kernel_sum(one: Tensor, other: Tensor, kernel: Kernel) -> Tensor:
    """Over all pairs; of 10,000 vectors and themselves the kernel takes 800 MB, if it is there as a whole."""
    squares = other.square().sum(1)
    parts = one.split(ROWS)
    return torch.stack([kernel(rows @ other.T, rows.square().sum(1)[:, None], squares).sum() for rows in parts]).sum()
