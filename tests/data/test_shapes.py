import warnings

import numpy as np
import pytest

from aaa.data.shapes import HELD_OUT, HELD_OUT_SCENES, SEEN_SCENES, SHAPES, Scene, ShapesSource, draw
from aaa.evaluation.shapes import agrees
from aaa.evaluation.shapes_reader import UNCLEAR, read


@pytest.mark.parametrize(("resolution", "jitter"), [(32, 0.0), (32, 0.02), (64, 0.0)])
def test_the_reader_is_right_on_real_pictures(resolution: int, jitter: float) -> None:
    source = ShapesSource(resolution, num_records=800, num_validation=200, jitter=jitter)
    records = [source[index] for index in range(len(source))]
    right = [agrees(record.prompt, record.load())[""] for record in records]
    assert sum(right) >= 0.99 * len(right)


def test_the_reader_is_right_on_noisy_pictures_and_unsure_of_noise() -> None:
    rng = np.random.default_rng(0)
    from PIL import Image

    scene = Scene("triangle", "purple", "large", "top left", "white")
    noisy = np.asarray(draw(scene, 32), dtype=float) + rng.normal(0, 12, (32, 32, 3))
    found = read(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    assert (found.shape, found.color, found.background) == ("triangle", "purple", "white")
    noise = read(Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)))
    assert noise.shape == UNCLEAR
    speckled = np.full((32, 32, 3), 128, dtype=np.uint8)
    for channel in range(3):  # the median of all specks is the border's grey
        speckled[8 * channel + 4 : 8 * channel + 8, 8:24, channel] += 90
    with warnings.catch_warnings(action="error"):
        assert read(Image.fromarray(speckled)).shape == UNCLEAR
    blank = read(Image.new("RGB", (32, 32), "white"))
    assert (blank.shape, blank.color, blank.background) == (UNCLEAR, UNCLEAR, "white")


def test_held_out_pairs_never_occur_in_training() -> None:
    source = ShapesSource(32, num_records=5000, num_validation=300)
    records = [source[index] for index in range(len(source))]
    held_out = {f"{color} {shape}" for shape, color in HELD_OUT}
    assert len(held_out) == len(SHAPES)
    for record in records:
        assert any(pair in record.prompt for pair in held_out) == (record.split == "validation")
    assert len(SEEN_SCENES) + len(HELD_OUT_SCENES) == 6 * 8 * 3 * 9 * 4


def test_the_same_record_is_the_same_picture_every_time() -> None:
    first, again = ShapesSource(32, 50, 5, jitter=0.02), ShapesSource(32, 50, 5, jitter=0.02)
    for index in range(len(first)):
        assert first[index].prompt == again[index].prompt
        assert first[index].load().tobytes() == again[index].load().tobytes()


def test_edges_are_anti_aliased_and_areas_right() -> None:
    picture = np.asarray(draw(Scene("circle", "red", "large", "center", "black"), 64))[..., 0] / 220
    assert ((picture > 0.05) & (picture < 0.95)).sum() > 40
    assert picture.sum() == pytest.approx(np.pi * (0.9 * 0.31 * 64) ** 2, rel=0.01)


def test_a_picture_agrees_with_its_prompt_in_all_or_in_some_of_what_it_says() -> None:
    circle, square = (
        Scene("circle", "red", "large", "center", "black"),
        Scene("square", "blue", "small", "left", "white"),
    )
    pink = draw(Scene("square", "pink", "small", "left", "white"), 32)
    assert agrees(circle.prompt, draw(circle, 32)) == {"": True, "_shape": True, "_color": True, "_background": True}
    assert agrees(square.prompt, pink) == {"": False, "_shape": True, "_color": False, "_background": True}
