import torch
from hypothesis import given
from hypothesis import strategies as st

from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding


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
