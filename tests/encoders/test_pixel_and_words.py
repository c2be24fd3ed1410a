import re
import unicodedata
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aaa.encoders.pixel import PixelVAE
from aaa.encoders.prompts import normalised
from aaa.encoders.words import INVISIBLE, LETTERS, ZERO_WIDTH_SPACE, WordEmbedding, without_spaces


@given(factor=st.sampled_from([1, 2, 4, 8]), height=st.integers(1, 4), width=st.integers(1, 4), batch=st.integers(1, 3))
def test_pixels_come_back_bit_for_bit(factor: int, height: int, width: int, batch: int) -> None:
    images = torch.randn(batch, 3, height * factor, width * factor)
    vae = PixelVAE(factor)
    latents = vae.encode(images)
    assert latents.shape == (batch, vae.latent_channels, height, width)
    assert torch.equal(vae.decode(latents), images)


@given(st.text())
def test_any_text_is_embedded(text: str) -> None:
    embeds, lengths = WordEmbedding(32, 8).encode([text])
    assert embeds.shape == (1, 8, 32)
    assert embeds.isfinite().all()
    used = min(lengths[0], 8)
    assert (embeds[0, used:] == 0).all()
    assert (embeds[0, :used].abs().sum(-1) > 0).all()


def test_a_word_is_the_same_vector_everywhere_and_another_word_another() -> None:
    embeds, lengths = WordEmbedding(128, 8).encode(["red square", "a Red, square", "blue"])
    word = slice(0, 96)
    assert lengths == [2, 4, 1]
    assert torch.equal(embeds[0, 0, word], embeds[1, 1, word])
    assert not torch.equal(embeds[0, 0, 96:], embeds[1, 1, 96:])  # positions differ
    similarity = torch.cosine_similarity(embeds[0, 0, word], embeds[2, 0, word], dim=0)
    assert similarity.abs() < 0.35


def test_vectors_are_the_same_on_every_machine() -> None:
    embeds, _ = WordEmbedding(32, 4).encode(["triangle"])
    torch.testing.assert_close(embeds[0, 0, :3], torch.tensor(TRIANGLE), atol=1e-4, rtol=0)


TRIANGLE = [0.9507, -0.483, -1.4079]


JOINERS = "\u200c\u200d"
EARLIER = re.compile(r"\w+|[^\w\s]")
SPACELESS = re.compile(f"[{LETTERS}]")


@given(st.text())
def test_words_of_scripts_with_spaces_are_what_they_always_were(text: str) -> None:
    text = SPACELESS.sub(" ", unicodedata.normalize("NFC", INVISIBLE.sub("", text).replace(ZERO_WIDTH_SPACE, "")))
    text = "".join(one for one in text.lower() if not unicodedata.category(one).startswith("M") and one not in JOINERS)
    assert WordEmbedding(32, 8).tokenize(text) == EARLIER.findall(text.lower())
    assert not without_spaces(text)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", 2),  # Hindi: vowel signs
        ("\u05de\u05b4\u05dc\u05b8\u05d4", 1),  # Hebrew with points
        ("\u0642\u0650\u0637\u0651\u0629", 1),  # Arabic with its vowels
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 1),  # Persian, kept apart within a word
        ("m\u0303a ka\u0300fe", 2),  # Latin, an accent that no letter of Unicode has
        ("\u2764\ufe0f a \U0001f469\u200d\U0001f467", 6),  # emoji, as ever
    ],
)
def test_marks_on_letters_do_not_split_a_word(prompt: str, words: int) -> None:
    assert len(WordEmbedding(32, 8).tokenize(prompt)) == words


@given(st.text(st.characters(exclude_categories=[])), st.sampled_from(["NFC", "NFD"]))
def test_a_prompt_has_one_form(text: str, form: Literal["NFC", "NFD"]) -> None:
    once = normalised(text)
    assert normalised(once) == once == normalised(unicodedata.normalize(form, once))
    once.encode()
    one, other = WordEmbedding(32, 8).encode([text, unicodedata.normalize(form, once)])[0]
    assert torch.equal(one, other)


@pytest.mark.parametrize("text", ["", "a red ring", "caf\u00e9", "\ub179\uc0c9", "\u4e00", "a\u0000b"])
def test_what_has_that_form_stays_as_it_is(text: str) -> None:
    assert normalised(text) == text


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("\u4e00\u53ea\u7ea2\u732b\u3002", 5),  # Chinese: one red cat.
        ("\u8d64\u3044\u732b\u304c\u30ab\u30e1\u30e9", 7),  # Japanese, with katakana
        ("\u304b\u3099\u3042", 2),  # a kana and its mark are one
        ("\uff76\uff92\uff97", 3),  # of half width
        ("\u0e41\u0e21\u0e27\u0e2a\u0e35\u0e41\u0e14\u0e07", 7),  # Thai: a vowel above its consonant
        ("\u0eab\u0eb2\u0eaa\u0eb5", 3),  # Lao
        ("\u1786\u17d2\u1798\u17b6\u1780\u17d2\u179a", 2),  # Khmer: consonants below each other
        ("\u1000\u103c\u1031\u102c\u1004\u103a", 2),  # Burmese
    ],
)
def test_scripts_without_spaces_are_taken_character_by_character(prompt: str, words: int) -> None:
    tokens = WordEmbedding(32, 8).tokenize(prompt)
    assert len(tokens) == words
    assert "".join(tokens) == normalised(prompt)
    assert without_spaces(prompt)


@pytest.mark.parametrize(
    "prompt", ["\ube68\uac04 \uace0\uc591\uc774", "\u0642\u0637\u0629 \u062d\u0645\u0631", "a cat", "\u732b"]
)
def test_scripts_with_spaces_and_single_characters_are_no_riddle(prompt: str) -> None:
    assert not without_spaces(prompt)


@pytest.mark.parametrize(
    "text", ["\ufeffa red cat", "a\u200bred cat", "\u202aa red\u202c cat", "a red c\u00adat", "a\tred\r\ncat"]
)
def test_what_nobody_sees_is_no_word(text: str) -> None:
    assert WordEmbedding(32, 8).tokenize(text) == ["a", "red", "cat"]


def test_words_around_a_character_stay_whole() -> None:
    assert WordEmbedding(32, 8).tokenize("Cat\u732bcat2") == ["cat", "\u732b", "cat2"]
