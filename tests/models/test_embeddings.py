"""Learned positions: where they begin, and what pictures of another size get of them."""

import math

import pytest
import torch
import torch.nn.functional as F

from aaa.models.embeddings import PositionEmbedding, sincos_positions


@pytest.mark.parametrize("grid", [4, 16])
def test_positions_begin_as_sines_and_cosines_of_row_and_column_on_a_grid_of_16(grid: int) -> None:
    found = sincos_positions(8, grid)
    assert found.shape == (1, 8, grid, grid)
    for row, column in ((0, 0), (1, 3), (3, 2)):
        angles = [[place * 16 / grid * frequency for frequency in (1, 1 / 100)] for place in (row, column)]
        expected = [wave(angle) for axis in angles for wave in (math.sin, math.cos) for angle in axis]
        assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_pictures_of_another_size_get_the_grid_bilinearly_and_other_tokens_nothing() -> None:
    positions = PositionEmbedding(8, 4)
    found = positions(2, 6, 3, torch.float32, other_tokens=2)[0]
    resized = F.interpolate(positions.image_emb, size=(2, 6), mode="bilinear")[0]
    torch.testing.assert_close(found[:12], resized.flatten(1).T)
    assert not found[12:14].any()
    assert torch.equal(found[14:], positions.text_emb.expand(3, -1))
