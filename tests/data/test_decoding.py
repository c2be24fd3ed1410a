import pytest
import torch
from torch import Tensor

from aaa.data import decoding
from aaa.data.decoding import decode_pictures
from aaa.data.pictures import to_pictures
from aaa.encoders.pixel import PixelVAE


class Watched(PixelVAE):
    """Notes how many pictures it decodes at once."""

    def decode(self, latents: Tensor) -> Tensor:
        asked.append(len(latents))
        return super().decode(latents)


asked: list[int] = []


@pytest.mark.parametrize(("most", "parts"), [(2**20, [5]), (2 * 16 * 32, [2, 2, 1]), (1, [1] * 5)])
def test_many_or_large_pictures_are_decoded_in_parts(
    most: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PIXELS_AT_ONCE", most)
    asked.clear()
    vae = Watched(4)
    latents = vae.encode(torch.rand(5, 3, 16, 32) * 2 - 1)
    pictures = decode_pictures(vae, latents)
    assert asked == parts
    assert [p.tobytes() for p in pictures] == [p.tobytes() for p in to_pictures(PixelVAE(4).decode(latents))]
