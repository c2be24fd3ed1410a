import numpy as np
import pytest

from aaa.data.openmoji import OpenMojiSource


@pytest.fixture(scope="module")
def source() -> OpenMojiSource:
    return OpenMojiSource(64)


def find(source: OpenMojiSource, prompt: str) -> int:
    return next(index for index in range(len(source)) if source[index].prompt == prompt)


def test_thousands_of_emoji_have_names(source: OpenMojiSource) -> None:
    prompts = [source[index].prompt for index in range(len(source))]
    assert len(prompts) > 3800
    assert len(set(prompts)) > 0.99 * len(prompts)
    assert {"hot beverage", "red heart", "grinning face", "woman farmer dark skin tone"} <= set(prompts)
    assert all(prompt.strip() and not set(prompt) & set(":_") for prompt in prompts)
    plain = OpenMojiSource(64, skin_tones=False)
    assert 1500 < len(plain) < 2200


def test_they_are_drawn_over_the_background(source: OpenMojiSource) -> None:
    square = np.asarray(source[find(source, "red square")].load())
    assert square.shape == (64, 64, 3)
    assert tuple(square[0, 0]) == (255, 255, 255)
    red, green, blue = square[32, 32].astype(int)
    assert red > 180
    assert green < 90
    assert blue < 90
    navy = OpenMojiSource(32, background_color="navy")
    assert tuple(np.asarray(navy[find(navy, "red square")].load())[0, 0]) == (0, 0, 128)


def test_every_drawing_names_its_file(source: OpenMojiSource) -> None:
    record = source[find(source, "hot beverage")]
    assert record.key == "2615"
    assert record.path is not None
    assert record.path.name == "2615.svg"
