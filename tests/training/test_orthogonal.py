import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from aaa.training.orthogonal import JORDAN, KINDS, MINIMAX, Iteration, iterations_for, orthogonalise

LEAST = dict(
    zip((128, 1024, math.inf), (0.01, 0.003, 0.001), strict=True)
)  # singular values that iterations are best on
SPARE = 1.01


def after(iterations: tuple[Iteration, ...], values: Tensor) -> Tensor:
    """What becomes of singular values."""
    for a, b, c in iterations:
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize(("most", "iterations"), MINIMAX)
def test_each_iteration_errs_least_on_what_the_one_before_leaves(
    most: float, iterations: tuple[Iteration, ...]
) -> None:
    low, high = LEAST[most], 1.0
    for place, iteration in enumerate(iterations):
        x = torch.cat(
            [torch.linspace(low, high, 2000), torch.logspace(math.log10(low), math.log10(high), 2000)]
        ).double()
        powers, ones = torch.stack([x, x**3, x**5], dim=1), torch.ones(len(x), 1, dtype=torch.float64)
        above = torch.cat([torch.cat([powers, -ones], dim=1), torch.cat([-powers, -ones], dim=1)])
        bounds = torch.cat([ones, -ones]).flatten()
        best = linprog([0, 0, 0, 1], above.numpy(), bounds.numpy(), bounds=4 * [(None, None)]).x
        spare = SPARE if place + 1 < len(iterations) else 1.0
        assert iteration == pytest.approx([best[0] / spare, best[1] / spare**3, best[2] / spare**5], rel=2e-3)
        left = after((iteration,), x)
        low, high = min(left.min().item(), 1 - best[3]), 1 + best[3]


def spread(rank: int, columns: int, values: Tensor) -> Tensor:
    """A matrix with these singular values."""
    left, _ = torch.linalg.qr(torch.randn(rank, rank))
    right, _ = torch.linalg.qr(torch.randn(columns, rank))
    return left @ torch.diag(values) @ right.T


# A step would be too large by what a singular value is above 1: nothing that gradients can be may be blown up.
HARD: dict[str, Callable[[int, int], Tensor]] = {
    "of rank 1": lambda rows, columns: torch.randn(rows, 1) @ torch.randn(1, columns),
    "all the same": torch.ones,
    "three alike": lambda rows, columns: spread(rows, columns, torch.tensor(3 * [1.0] + (rows - 3) * [0.0])),
    "one above noise": lambda rows, columns: torch.ones(rows, columns) + 1e-3 * torch.randn(rows, columns),
    "random": torch.randn,
    "five decades": lambda rows, columns: spread(rows, columns, torch.logspace(0, -5, rows)),
    "a power law": lambda rows, columns: spread(rows, columns, torch.arange(1, rows + 1).float() ** -1),
    "nothing": torch.zeros,
}


@pytest.mark.parametrize("what", HARD)
@pytest.mark.parametrize(
    "shape", [(128, 384), (128, 128), (16, 64), (32, 96), (64, 192), (96, 288), (384, 128), (200, 800), (1100, 1700)]
)
def test_nothing_is_blown_up_in_bf16(what: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaa.training.orthogonal.multiplies_bf16", lambda _device: True)
    torch.manual_seed(0)
    rows, columns = min(shape), max(shape)
    matrix = HARD[what](rows, columns)
    (result,) = orthogonalise([matrix if shape[0] == rows else matrix.T])
    assert result.shape == shape
    assert torch.linalg.matrix_norm(result.float(), ord=2) < 1.4


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 80), count=st.integers(1, 3), seed=st.integers(0, 99))
def test_matrices_keep_their_directions(kind: str, rows: int, columns: int, count: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("aaa.training.orthogonal.multiplies_bf16", lambda _device: False)
        torch.manual_seed(seed)
        matrices = [torch.randn(rows, columns, dtype=torch.float64).float() for _ in range(count)]
        results = orthogonalise(matrices, kind)
    for matrix, result in zip(matrices, results, strict=True):
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        expected = left @ torch.diag(after(iterations_for(kind, len(values)), values / values.norm())) @ right
        torch.testing.assert_close(result.double(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("quick", [True, False])
def test_matrices_are_orthogonalised_in_either_precision(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaa.training.orthogonal.multiplies_bf16", lambda _device: quick)
    torch.manual_seed(0)
    (result,) = orthogonalise([torch.randn(24, 8)])
    values = torch.linalg.svdvals(result.float())
    assert result.dtype == (torch.bfloat16 if quick else torch.float32)
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_jordans_are_torchs() -> None:
    (weight,) = weights = [torch.nn.Parameter(torch.ones(2, 2))]
    group = torch.optim.Muon(weights).param_groups[0]
    assert group["ns_steps"] * (group["ns_coefficients"],) == JORDAN
    assert iterations_for("jordan", len(weight)) == JORDAN
