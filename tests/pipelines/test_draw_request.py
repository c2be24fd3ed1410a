"""What pictures are asked for with."""

from typing import Any

import pytest
from PIL import Image

from aaa.errors import UserError
from aaa.pipelines.draw_request import DrawRequest


def test_a_prompt_is_enough() -> None:
    request = DrawRequest("a cat")
    assert (request.prompt, request.negative_prompt, list(request.seeds)) == ("a cat", "", [0])
    assert list(DrawRequest("a cat", num_images=3, seed=5).seeds) == [5, 6, 7]
    with pytest.raises(TypeError, match="stepz"):
        DrawRequest("a cat", stepz=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_images": 0}, "num_images=0: must be at least 1"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"height": 0}, "height=0: must be at least 1"),
        ({"width": 10**6}, "width=1000000: must be at least 1 and at most 16384"),
        ({"steps": 10**6}, "steps=1000000"),
        ({"denoising_strength": 0}, "denoising_strength=0: must be above 0"),
        ({"denoising_strength": 0.5}, "denoising_strength below 1 needs a picture to start from"),
        ({"sampler": "ddim"}, "sampler=ddim: no such option"),
    ],
)
def test_what_cannot_be_drawn_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DrawRequest("a cat", **settings)


def test_a_picture_may_be_redrawn_in_part() -> None:
    assert DrawRequest("a cat", input_image=Image.new("RGB", (8, 8)), denoising_strength=0.5).denoising_strength == 0.5


def test_many_pictures_are_drawn_in_parts() -> None:
    parts = list(DrawRequest("a cat", num_images=150, seed=5, steps=3).parts(64))
    assert [len(part.seeds) for part in parts] == [64, 64, 22]
    assert [seed for part in parts for seed in part.seeds] == list(range(5, 155))
    assert {part.steps for part in parts} == {3}
