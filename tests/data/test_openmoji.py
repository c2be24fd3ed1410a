import numpy as np
import pytest

from aaa.data.openmoji import OpenMojiSource
from aaa.errors import UserError


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


def test_captions_are_short_and_long_by_their_weights() -> None:
    both = OpenMojiSource(16, prompt_column={"short": 3, "long": 1})
    prompts = dict(both[find(both, "woman farmer dark skin tone")].prompts or {})
    assert prompts == {
        "woman farmer dark skin tone": 3.0,
        "woman farmer dark skin tone, people & body, person role, female": 1.0,
    }
    long = OpenMojiSource(16, prompt_column="long")
    said = {long[index].key: long[index].prompt for index in range(len(long))}
    assert said["1F980"] == "crab, food & drink, food marine"
    assert said["1F1F5-1F1F1"].startswith("Poland, flags, country flag")
    assert said["1F60A"].startswith("smiling face with smiling eyes, smileys & emotion, face smiling, ")
    assert sum(text.count(",") >= 2 for text in said.values()) > 0.85 * len(said)


def test_without_new_arguments_everything_is_as_it_was(source: OpenMojiSource) -> None:
    records = [source[index] for index in range(len(source))]
    files = [f"{record.key}.svg" for record in records]
    assert files == sorted(files)
    assert all(record.split is None and record.prompts is None for record in records)


def test_the_first_records_are_of_all_kinds() -> None:
    mixed = OpenMojiSource(16, held_out_pairs=0.1)
    first = [mixed[index] for index in range(256)]
    assert 0.4 < sum("skin tone" in record.prompt for record in first) / 256 < 0.6
    assert 10 < sum(record.split == "validation" for record in first) < 40
    assert all(record.split is not None for record in first)


def test_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.source\.held_out_pairs=1"):
        OpenMojiSource(16, held_out_pairs=1)
    with pytest.raises(UserError, match=r"data\.source\.prompt_column.*'medium'|'medium'"):
        OpenMojiSource(16, prompt_column="medium")
