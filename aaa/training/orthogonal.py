"""The nearest orthogonal matrices, roughly, by Newton-Schulz iterations: what Muon adds to weights in place of momenta.

An iteration `X <- aX + b(XX')X + c(XX')^2 X` takes each singular value s to `as + bs^3 + cs^5`, so that a few of them
bring all values near 1. Two kinds:

- `jordan` (Jordan et al. 2024): five times the same, which leave values between 0.68 and 1.2;
- `minimax` (Polar Express, Amsel et al. 2025, arXiv 2505.16932): each is the polynomial that errs least on what the one
  before has left, so that fewer do. How many there are depends on the rank, by which values are small: so many of them
  share a norm of 1.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.training.precision import multiplies_bf16

KINDS = ("minimax", "jordan")


class Iteration(NamedTuple):
    """`X <- aX + b(XX')X + c(XX')^2 X`."""

    a: float
    b: float
    c: float


JORDAN = 5 * (Iteration(3.4445, -4.7750, 2.0315),)

# Up to which rank, then the iterations: best on values from 0.01, 0.003 and 0.001 to 1, which they take to within 0.28,
# 0.21 and 0.13 of 1. All but the last bear values that are a hundredth too large, as bf16 rounds them.
MINIMAX: tuple[tuple[float, tuple[Iteration, ...]], ...] = (
    (
        128,
        (
            Iteration(8.0132, -22.9258, 16.5994),
            Iteration(3.6070, -2.6486, 0.5119),
            Iteration(2.6802, -1.9980, 0.4572),
        ),
    ),
    (
        1024,
        (
            Iteration(8.3007, -24.0375, 17.4661),
            Iteration(4.0059, -2.9253, 0.5424),
            Iteration(3.4840, -2.5614, 0.5024),
            Iteration(2.5153, -1.8615, 0.4425),
        ),
    ),
    (
        math.inf,
        (
            Iteration(8.3865, -24.3697, 17.7251),
            Iteration(4.1423, -3.0181, 0.5526),
            Iteration(3.9286, -2.8723, 0.5365),
            Iteration(3.2763, -2.4118, 0.4860),
            Iteration(2.3018, -1.6763, 0.4230),
        ),
    ),
)
# The first iterations may be taken together as one square matrix, which is the shorter way from so many columns a row
# on: two, and of rank 128 three. In more, small values drown in what bf16 rounds of large ones: of ranks 32 and 64
# three would take some to 1.8 and 1.5.
WIDE = 1.5
TOGETHER, TOGETHER_AT_128 = 2, 3


def iterations_for(kind: str, rank: int) -> tuple[Iteration, ...]:
    """Those of a matrix with so many rows or columns, whichever are fewer."""
    if kind == "jordan":
        return JORDAN
    return next(iterations for most, iterations in MINIMAX if rank <= most)


def orthogonalise(matrices: Sequence[Tensor], kind: str = "minimax", eps: float = 1e-7) -> list[Tensor]:
    """The nearest orthogonal matrix to each, roughly.

    The iterations need no more precision than bf16 has, and are made in it wherever the device is quick at that.
    Matrices of one shape, or of its transpose, are stacked and share their matrix products: all of them on a GPU, on a
    CPU no more than its cache holds.

    Args:
        matrices: of any shapes.
        kind: of `KINDS`.
        eps: the least norm that a matrix is divided by.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, matrix in enumerate(matrices):
        by_shape.setdefault((min(matrix.shape), max(matrix.shape)), []).append(index)
    results: list[Tensor] = list(matrices)
    stacked = (2**28 if matrices[0].is_cuda else 2**20) if matrices else 1  # numbers
    stacks = [
        indices[start : start + max(1, stacked // math.prod(shape))]
        for shape, indices in by_shape.items()
        for start in range(0, len(indices), max(1, stacked // math.prod(shape)))
    ]
    for indices in stacks:
        tall = [matrices[index].shape[0] > matrices[index].shape[1] for index in indices]
        x = torch.stack([matrices[i].T if t else matrices[i] for i, t in zip(indices, tall, strict=True)])
        x = x.bfloat16() if multiplies_bf16(x.device) else x.float()  # n rows columns, rows <= columns
        x /= x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
        # A product of stacks of one matrix is slower on a CPU than a product of matrices.
        x = iterate(x[0] if len(x) == 1 else x, iterations_for(kind, x.shape[1]), together=kind == "minimax")
        x = x.view(len(indices), *x.shape[-2:])
        for position, (index, transposed) in enumerate(zip(indices, tall, strict=True)):
            results[index] = x[position].T if transposed else x[position]
    return results


def iterate(x: Tensor, iterations: Sequence[Iteration], *, together: bool) -> Tensor:
    """Matrices of norm 1, `rows columns` or `n rows columns` with no more rows than columns, after these iterations.

    Args:
        x: the matrices.
        iterations: in their order.
        together: make one square matrix of the first few where that is less work.
    """
    rows, columns = x.shape[-2:]
    first = 0
    if together and columns >= WIDE * rows:
        first = TOGETHER_AT_128 if rows == 128 else TOGETHER
        x = _product(x @ x.mT, iterations[:first]) @ x
    multiply_add = torch.addmm if x.ndim == 2 else torch.baddbmm
    for a, b, c in iterations[first:]:
        gram = x @ x.mT
        x = multiply_add(x, multiply_add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _product(gram: Tensor, iterations: Sequence[Iteration]) -> Tensor:
    """What the iterations multiply a matrix with this `XX'` by, from the left: polynomials of it."""
    multiply_add = torch.addmm if gram.ndim == 2 else torch.baddbmm
    product: Tensor | None = None
    for number, (a, b, c) in enumerate(iterations, start=1):
        factor = multiply_add(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if number < len(iterations):
            gram = factor @ (gram @ factor)
    assert product is not None
    return product
