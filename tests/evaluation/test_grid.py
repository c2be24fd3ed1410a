"""Grids of pictures: what is white has an edge, rows are told apart, and no line is empty."""

import pytest
from PIL import Image

from aaa.evaluation.grid import CELL, EDGE, LINE, MARGIN, make_grid

WHITE = [Image.new("RGB", (16, 16), "white")] * 4


def test_white_pictures_have_an_edge_outside_of_them() -> None:
    grid = make_grid(WHITE[:1], [""])
    assert grid.size == (CELL + 2 * MARGIN, CELL + 2 * MARGIN)
    edge = tuple(bytes.fromhex(EDGE[1:]))
    assert grid.getpixel((MARGIN - 1, MARGIN + 5)) == grid.getpixel((MARGIN + CELL, MARGIN + 5)) == edge
    assert grid.crop((MARGIN, MARGIN, MARGIN + CELL, MARGIN + CELL)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(("caption", "lines"), [("", 0), ("seed 0", 1), ("a word " * 50, 3)])
def test_captions_take_as_many_lines_as_they_have(caption: str, lines: int) -> None:
    assert make_grid(WHITE, [caption] * 4).height == CELL + 2 * MARGIN + lines * LINE


def test_a_heading_begins_a_row() -> None:
    plain = make_grid(WHITE[:2], ["", ""], columns=2)
    headed = make_grid(WHITE[:3], ["", "", ""], columns=2, headings={0: "trained on", 1: "held out"})
    assert headed.size == (plain.width, 2 * (CELL + MARGIN) + MARGIN + 2 * LINE)
    above = headed.crop((0, MARGIN, headed.width, MARGIN + LINE - 2))
    assert min(above.convert("L").tobytes()) < 128, "something is written there"
    beside = headed.crop((2 * MARGIN + CELL, MARGIN + LINE, headed.width, MARGIN + LINE + CELL))
    assert beside.getextrema() == ((255, 255),) * 3, "the rest of the first row is empty"
