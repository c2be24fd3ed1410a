"""Latents to pictures, no more of them at once than memory is sure to hold."""

from PIL import Image
from torch import Tensor

from aaa.data.pictures import to_pictures
from aaa.encoders.protocols import VAE

PIXELS_AT_ONCE = 2**20  # for which the decoder of FLUX.2's VAE takes 2.2 GiB in bf16


def decode_pictures(vae: VAE, latents: Tensor) -> list[Image.Image]:
    """Latents, `B C H W`, as RGB pictures.

    Args:
        vae: decodes them, in parts where they are many or large.
        latents: where it wants them.
    """
    pixels = latents.shape[-2] * latents.shape[-1] * vae.downscale_factor**2
    parts = latents.split(max(PIXELS_AT_ONCE // pixels, 1))
    return [picture for part in parts for picture in to_pictures(vae.decode(part))]
