from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aaa.data.pictures import crop_and_resize, read_picture, to_pictures, to_tensor
from aaa.errors import UserError


@settings(max_examples=30)
@given(width=st.integers(1, 90), height=st.integers(1, 90), target=st.tuples(st.integers(1, 64), st.integers(1, 64)))
def test_cropping_and_resizing_gives_diffsynths_pixels(width: int, height: int, target: tuple[int, int]) -> None:
    from diffsynth.core.data.operators import ImageCropAndResize

    pixels = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    ours = crop_and_resize(picture, *target)
    theirs = ImageCropAndResize(*target)(picture)
    assert ours.size == (target[1], target[0])
    assert ours.tobytes() == theirs.tobytes()


def test_pixels_survive_the_way_to_a_tensor_and_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    tensor = to_tensor(Image.fromarray(pixels))
    assert tensor.shape == (3, 8, 6)
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    assert np.array_equal(np.asarray(to_pictures(tensor[None])[0]), pixels)
    assert np.array_equal(np.asarray(to_pictures(tensor[None].half())[0]), pixels)


def test_transparent_parts_show_the_background_color(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    picture.putpixel((0, 0), (0, 255, 0, 0))
    picture.save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png", "blue")
    assert read.getpixel((0, 0)) == (0, 0, 255)
    assert read.getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    source = (
        Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16))
        if mode == "I;16"
        else Image.new("RGB", (4, 4), "white").convert(mode)
    )
    # Pillow 12 cuts YCbCr short where it is not compressed.
    source.save(tmp_path / f"a.{suffix}", **({"compression": "jpeg"} if mode == "YCbCr" else {}))
    read = read_picture(tmp_path / f"a.{suffix}", "white")
    assert read.mode == "RGB"
    expected = round(40_000 / 257) if mode == "I;16" else 255
    assert read.getpixel((0, 0)) == (expected,) * 3


def test_a_picture_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", "white").size == (4, 6)


def test_bad_files_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:4000])
    for name, message in (("empty", "is empty"), ("text", "not a picture"), ("cut", "cannot be read")):
        with pytest.raises(UserError, match=message):
            read_picture(tmp_path / f"{name}.png", "white")
    monkeypatch.setattr("aaa.data.pictures.MAX_PIXELS", 1000)
    with pytest.raises(UserError, match="bomb"):
        read_picture(tmp_path / "whole.png", "white")


def test_a_sliver_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(UserError, match="too elongated: 1 x 20000"):
        crop_and_resize(Image.new("RGB", (1, 20_000)), 256, 256)
    assert crop_and_resize(Image.new("RGB", (1, 1)), 256, 256).size == (256, 256)


def test_images_outside_the_range_are_clipped() -> None:
    pictures = to_pictures(torch.tensor([-7.0, 0.0, 9.0]).reshape(1, 3, 1, 1))
    assert pictures[0].getpixel((0, 0)) == (0, 128, 255)
