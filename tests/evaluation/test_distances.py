import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.evaluation import distances
from aaa.evaluation.distances import frechet_distance, gaussian_kernel_distance, jackknife_error, kernel_distance
from aaa.evaluation.memorisation import nearest_of


def normal(count: int, seed: int, shift: float = 0.0, scale: float = 1.0, dim: int = 4) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) * scale + shift


def test_the_frechet_distance_of_normals_is_what_the_formula_says() -> None:
    one, other = normal(20_000, 0), normal(20_000, 1, shift=1.0, scale=2.0)
    # |mean|^2 + trace(1 + 4 - 2 * 2) over 4 numbers
    assert frechet_distance(one, other) == pytest.approx(4 * 1 + 4 * 1, rel=0.05)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    from scipy import linalg

    a, b = torch.cov(one.T.double()).numpy(), torch.cov(other.T.double()).numpy()
    mean = (one.double().mean(0) - other.double().mean(0)).square().sum().item()
    expected = mean + a.trace() + b.trace() - 2 * linalg.sqrtm(a @ b).real.trace()
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


def test_the_kernel_distance_is_unbiased() -> None:
    apart = [kernel_distance(normal(20, seed), normal(20, seed + 1000)) for seed in range(200)]
    mean = sum(apart) / len(apart)
    assert abs(mean) < 0.1, "few vectors do not raise it"
    assert min(apart) < 0
    assert kernel_distance(normal(200, 0), normal(200, 1, shift=1.0)) > 1


def test_the_kernel_distance_is_that_of_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    one, other = normal(50, 0).double(), normal(50, 1, shift=0.5).double()
    assert kernel_distance(one, other) == pytest.approx(kid.poly_mmd(one, other).item(), rel=1e-6)


@settings(max_examples=20)
@given(st.integers(2, 9), st.integers(2, 9), st.floats(0.5, 20), st.integers(0, 10**6))
def test_a_gaussian_kernel_distance_is_that_of_a_plain_double_loop(
    count: int, others: int, sigma: float, seed: int
) -> None:
    one, other = normal(count, seed), normal(others, seed + 1, shift=0.5)

    def mean_kernel(some: torch.Tensor, rest: torch.Tensor) -> float:
        pairs = [(x, y) for i, x in enumerate(some) for j, y in enumerate(rest) if some is not rest or i != j]
        return sum(math.exp(-(x - y).double().square().sum().item() / (2 * sigma**2)) for x, y in pairs) / len(pairs)

    expected = mean_kernel(one, one) + mean_kernel(other, other) - 2 * mean_kernel(one, other)
    assert gaussian_kernel_distance(one, other, sigma) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_a_gaussian_kernel_distance_of_normals_is_what_the_formula_says() -> None:
    """x - y is normal with the variances' sum v in each of D directions: E k = (1 + v / sigma^2)^(-D/2) exp(...)."""
    dim, shift, scale, sigma = 4, 0.7, 1.5, 2.0

    def expected_kernel(variance: float, apart: float) -> float:
        return (1 + variance / sigma**2) ** (-dim / 2) * math.exp(-dim * apart**2 / (2 * (sigma**2 + variance)))

    true = expected_kernel(2, 0) + expected_kernel(2 * scale**2, 0) - 2 * expected_kernel(1 + scale**2, shift)
    one, other = normal(1500, 0), normal(2000, 1, shift=shift, scale=scale)
    assert gaussian_kernel_distance(one, other, sigma) == pytest.approx(true, rel=0.1)
    few = [
        gaussian_kernel_distance(normal(10, seed), normal(15, seed + 1000, shift=shift, scale=scale), sigma)
        for seed in range(300)
    ]
    error = torch.tensor(few).std().item() / len(few) ** 0.5
    assert abs(sum(few) / len(few) - true) < 4 * error, "few vectors do not raise it"
    assert error < true / 20


@pytest.mark.parametrize("count", [12, 50])
def test_the_frechet_distance_is_that_of_torchmetrics_of_few_vectors_too(count: int) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    one, other = normal(count, 0, dim=16).double(), normal(60, 1, shift=0.5, dim=16).double()
    moments = (moment for vectors in (one, other) for moment in (vectors.mean(0), torch.cov(vectors.T)))
    assert frechet_distance(one, other) == pytest.approx(fid._compute_fid(*moments).item(), rel=1e-6)


def test_a_kernel_is_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = normal(50, 0), normal(30, 1, shift=0.5)
    whole = kernel_distance(one, other)
    monkeypatch.setattr(distances, "ROWS", 7)
    assert kernel_distance(one, other) == pytest.approx(whole, rel=1e-9)


@pytest.mark.slow
def test_the_jackknife_sees_how_much_the_choice_matters() -> None:
    reference = normal(300, 5)
    found = [kernel_distance(normal(100, seed, shift=0.3), reference) for seed in range(60)]
    true = torch.tensor(found).std().item()
    told = [jackknife_error(kernel_distance, normal(100, seed, shift=0.3), reference) for seed in range(60)]
    assert sum(told) / 60 == pytest.approx(true, rel=0.4)


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 600), st.integers(0, 10**6))
def test_the_nearest_is_found_among_any_number(count: int, train: int, seed: int) -> None:
    latents = list(normal(count, seed, dim=12).view(count, 3, 2, 2))
    others = list(normal(train, seed + 1, dim=12).view(train, 3, 2, 2))
    others.insert(seed % len(others), torch.zeros(3, 4, 4))  # of another size: cannot be compared
    distance, nearest = nearest_of(latents, others)
    for row, latent in enumerate(latents):
        all_of_them = [
            (other - latent).square().mean().sqrt().item() if other.shape == latent.shape else float("inf")
            for other in others
        ]
        assert distance[row] == pytest.approx(min(all_of_them), abs=1e-3)
        assert all_of_them[int(nearest[row])] == pytest.approx(min(all_of_them), abs=1e-3)
