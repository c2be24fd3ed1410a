"""Histograms of gradients that a loss goes through, against their definition written out with loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aaa.objectives.hog import histograms_of_gradients
from aaa.objectives.soft_hog import FAINT, soft_histograms


def pictures(size: int, height: int, width: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(size, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 1


def written_out(image: Tensor, cell: int) -> list[list[list[float]]]:
    """Of `3 H W`: rows of cells of 36 numbers."""
    _, height, width = image.shape
    rows, columns = height // cell, width // cell
    cells = [[[0.0] * 9 for _ in range(columns)] for _ in range(rows)]
    for channel in image.tolist():
        for y in range(height):
            for x in range(width):
                across = channel[y][min(x + 1, width - 1)] - channel[y][max(x - 1, 0)]
                down = channel[min(y + 1, height - 1)][x] - channel[max(y - 1, 0)][x]
                place = (math.atan2(down, across) % math.pi) / math.pi * 9 - 0.5
                lower = math.floor(place)
                length, histogram = math.hypot(across, down), cells[y // cell][x // cell]
                histogram[lower % 9] += length * (1 - (place - lower))
                histogram[(lower + 1) % 9] += length * (place - lower)

    def energy(y: int, x: int) -> float:
        return sum(v**2 for v in cells[min(max(y, 0), rows - 1)][min(max(x, 0), columns - 1)])

    def at(y: int, x: int) -> list[float]:
        found = []
        for top in (y - 1, y):
            for left in (x - 1, x):
                block = sum(energy(top + i, left + j) for i in (0, 1) for j in (0, 1))
                found += [v / math.sqrt(block + (FAINT * cell**2) ** 2) / 2 for v in cells[y][x]]
        return found

    return [[at(y, x) for x in range(columns)] for y in range(rows)]


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_they_are_their_definition(seed: int, rows: int, columns: int, cell: int) -> None:
    (image,) = pictures(1, rows * cell, columns * cell, seed)
    (found,) = soft_histograms(image[None], cell)
    torch.testing.assert_close(found, torch.tensor(written_out(image, cell)).permute(2, 0, 1), atol=1e-4, rtol=1e-3)
    assert found.norm(dim=0).max() <= 1


def test_they_are_near_to_those_that_are_targets() -> None:
    grey = pictures(2, 16, 16)[:, :1].expand(-1, 3, -1, -1)
    alike = F.cosine_similarity(soft_histograms(grey, 4), histograms_of_gradients(grey, 4), dim=1)
    assert alike.min() > 0.9  # apart from what is clipped there


def test_brightness_and_the_sign_of_contrast_do_not_count() -> None:
    images = pictures(2, 8, 8) / 2
    torch.testing.assert_close(soft_histograms(0.3 - images, 4), soft_histograms(images, 4), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("contrast", [0.0, 1e-20, 1e-6, 1e-3])
def test_flat_pictures_have_gradients_that_are_finite(contrast: float) -> None:
    """A model begins with grey: there histograms of full length would have gradients without bound."""
    images = (contrast * pictures(2, 8, 8)).requires_grad_()
    found = soft_histograms(images, 4)
    (found - 0.5).square().sum().backward()
    assert found.max() <= 10 * contrast
    assert images.grad is not None
    assert images.grad.abs().max() < 100
    half = images.detach().clone()
    half[..., :4] = 0  # flat next to what is not
    (gradient,) = torch.autograd.grad(soft_histograms(half.requires_grad_(), 4).square().sum(), half)
    assert gradient.isfinite().all()


def test_gradients_are_what_small_steps_find() -> None:
    images, direction = pictures(1, 8, 8), pictures(1, 8, 8, seed=1)
    images.requires_grad_()
    target = soft_histograms(direction, 4)

    def apart(pictures: Tensor) -> Tensor:
        return (soft_histograms(pictures, 4) - target).square().sum()

    (gradient,) = torch.autograd.grad(apart(images), images)
    with torch.no_grad():
        found = (apart(images + 1e-3 * direction) - apart(images - 1e-3 * direction)) / 2e-3
    assert (gradient * direction).sum().item() == pytest.approx(found.item(), rel=0.02)
