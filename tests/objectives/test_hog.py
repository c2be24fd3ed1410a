"""Histograms of oriented gradients against the definition written out with loops."""

import math

import pytest
import torch

from aaa.errors import UserError
from aaa.objectives.hog import CLIP, HOG_CHANNELS, OrientedGradients, histograms_of_gradients


def by_hand(image: torch.Tensor, cell: int) -> torch.Tensor:
    """As Dalal and Triggs have it, `36 h w`; the picture's and the grid's edges are repeated beyond them."""
    _, height, width = image.shape
    rows, columns = height // cell, width // cell
    cells = torch.zeros(rows, columns, 9, dtype=torch.float64)

    def pixel(channel: int, y: int, x: int) -> float:
        return image[channel, min(max(y, 0), height - 1), min(max(x, 0), width - 1)].item()

    for y in range(height):
        for x in range(width):
            gradients = [
                (pixel(c, y, x + 1) - pixel(c, y, x - 1), pixel(c, y + 1, x) - pixel(c, y - 1, x)) for c in range(3)
            ]
            across, down = max(gradients, key=lambda gradient: math.hypot(*gradient))
            angle = math.degrees(math.atan2(down, across)) % 180
            place = angle / 20 - 0.5
            lower = math.floor(place)
            for bin_, share in ((lower, 1 - (place - lower)), (lower + 1, place - lower)):
                cells[y // cell, x // cell, bin_ % 9] += share * math.hypot(across, down)

    def histogram(row: int, column: int) -> torch.Tensor:
        return cells[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]

    out = torch.zeros(4, 9, rows, columns, dtype=torch.float64)
    for row in range(rows):
        for column in range(columns):
            for block, (up, left) in enumerate([(1, 1), (1, 0), (0, 1), (0, 0)]):
                members = [histogram(row - up + i, column - left + j) for i in (0, 1) for j in (0, 1)]
                energy = math.sqrt(sum(member.square().sum().item() for member in members))
                out[block, :, row, column] = (cells[row, column] / (energy + 1e-3)).clamp(max=CLIP) / CLIP
    return out.flatten(0, 1)


@pytest.mark.parametrize("cell", [4, 2])
def test_it_is_the_definition(cell: int) -> None:
    images = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = histograms_of_gradients(images, cell)
    assert found.shape == (2, HOG_CHANNELS, 8 // cell, 12 // cell)
    for image, features in zip(images, found, strict=True):
        torch.testing.assert_close(features.double(), by_hand(image, cell), atol=1e-4, rtol=1e-4)


def test_an_edge_has_its_orientation_and_a_plain_picture_none() -> None:
    upright = torch.zeros(1, 3, 8, 8)
    upright[..., 4:] = 1
    found = histograms_of_gradients(upright, 4).view(4, 9, 2, 2)
    # The gradient runs across: at 0 degrees, between the bins centred at 10 and at 170.
    assert found[:, [0, 8]].min() > 0
    assert found[:, 1:8].abs().max() < 1e-4
    assert histograms_of_gradients(torch.full((1, 3, 8, 8), 0.5), 4).abs().max() == 0


def test_a_place_has_the_histograms_of_the_cells_that_lie_in_it() -> None:
    images = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    edges = OrientedGradients(2)
    found = edges.compute(images, 8)
    assert found.shape == (2, edges.channels, 1, 2)
    cells = histograms_of_gradients(images, 4)  # 2 rows of 4
    for place in (0, 1):
        of_place = found[:, :, 0, place].unflatten(1, (HOG_CHANNELS, 2, 2))
        assert torch.equal(of_place, cells[:, :, :, 2 * place : 2 * place + 2])
    assert torch.equal(OrientedGradients(1).compute(images, 8), histograms_of_gradients(images, 8))


def test_edges_of_other_cells_are_kept_under_another_name() -> None:
    assert len({OrientedGradients(cells).name for cells in (1, 2, 3, 4)}) == 4


def test_a_number_of_cells_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"cells=0: must be at least 1"):
        OrientedGradients(0)
