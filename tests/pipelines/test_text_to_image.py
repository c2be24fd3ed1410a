"""What a trained model is asked for, and what it says of it."""

import logging
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaa.errors import UserError
from aaa.pipelines.draw_request import DrawRequest
from aaa.pipelines.text_to_image import TextToImage
from tests.e2e.test_kept_run import KEPT


@pytest.fixture(scope="module")
def model() -> TextToImage:
    return TextToImage.from_pretrained(KEPT / "run")


def as_bytes(pictures: list[Image.Image]) -> list[bytes]:
    return [picture.tobytes() for picture in pictures]


def two_bit_png(path: Path) -> Path:
    """Columns of four greys, of which the third is transparent."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(4 * (b"\0" + bytes([0b00011011])))
    header = struct.pack(">IIBBBBB", 4, 4, 2, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", 2)), (b"IDAT", rows), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks))
    return path


def test_a_picture_to_start_from_is_the_same_as_a_path_a_text_and_an_object(model: TextToImage, tmp_path: Path) -> None:
    path = two_bit_png(tmp_path / "greys.png")
    opened = Image.open(path)
    drawn = [
        as_bytes(model.draw("a red circle", input_image=given, denoising_strength=0.1, steps=1))
        for given in (path, str(path), opened, opened)
    ]
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]
    turned = Image.new("RGB", (8, 16), "red")
    turned.getexif()[0x0112] = 6
    model.draw("a red circle", input_image=turned, denoising_strength=0.1, steps=1)
    assert turned.size == (8, 16), "it is its owner's"


def test_a_picture_that_cannot_be_started_from_is_named(model: TextToImage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"input_image=nowhere\.png: there is no such file"):
        model.draw("a red circle", input_image="nowhere.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"input_image=.*empty\.png is empty"):
        model.draw("a red circle", input_image=str(tmp_path / "empty.png"))
    odd = Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32))
    with pytest.raises(UserError, match="input_image holds numbers that are not finite"):
        model.draw("a red circle", input_image=odd)


@pytest.mark.parametrize(("strength", "is_told"), [(1.0, True), (0.7, False)])
def test_a_picture_of_which_nothing_is_left_is_told(model: TextToImage, strength: float, is_told: bool) -> None:
    given = DrawRequest("a red circle", input_image=Image.new("RGB", (16, 16)), denoising_strength=strength)
    assert [remark for remark in model.remarks(given) if "input_image" in remark] == [
        "input_image changes nothing: denoising_strength=1 redraws all of it. denoising_strength=0.7 keeps some."
    ] * is_told


@pytest.mark.parametrize(
    ("guidance", "told"),
    [
        (1, "guidance.scale=1 and guidance.interval=[0,1]"),
        ({"scale": 3, "interval": [0.6, 0.9]}, "guidance.scale=3 and guidance.interval=[0.6,0.9]"),
        ({"scale": 3, "interval": [0.4, 0.9]}, None),
        (3, None),
        ({"_target_": "my_guidance.Dimmed", "scale": 1}, None),  # nobody knows of a guidance of one's own
    ],
)
def test_a_negative_prompt_that_no_step_is_steered_by_is_told(
    model: TextToImage, guidance: float | dict[str, Any], told: str | None, my_project: None
) -> None:
    request = DrawRequest("a red circle", "blue", guidance=guidance, steps=2)
    remarks = [remark for remark in model.remarks(request) if "changes nothing" in remark]
    assert remarks == ([] if told is None else [f"negative_prompt changes nothing: with {told} no step is steered."])
    assert not [remark for remark in model.remarks(replace(request, negative_prompt="")) if "negative" in remark]


def test_a_prompt_that_is_cut_is_told_once_and_by_its_name(
    model: TextToImage, caplog: pytest.LogCaptureFixture
) -> None:
    most = model.prompt_tokens
    long = "red " * (most + 3)
    told = f"prompt has {most + 3} tokens; the model sees the first {most}."
    assert told in model.remarks(DrawRequest(long))
    negative = model.remarks(DrawRequest("a red circle", long))
    assert f"negative_{told}" in negative
    assert told not in negative
    assert not [remark for remark in model.remarks(DrawRequest("a red circle")) if "tokens" in remark]
    with caplog.at_level(logging.WARNING):
        model.draw(long, long, steps=1)
    assert [record.message for record in caplog.records if "tokens" in record.message] == [told, f"negative_{told}"]
