"""Latents that are the pixels themselves: exact, instant, nothing to download."""

import torch.nn.functional as F
from torch import Tensor


class PixelVAE:
    """Folds each `downscale_factor` x `downscale_factor` square of pixels into the channels of one latent.

    An invertible rearrangement (pixel unshuffle, Shi et al. 2016), so decoding gives back what was encoded,
    bit for bit.
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor
        self.latent_channels = 3 * downscale_factor**2

    def encode(self, images: Tensor) -> Tensor:
        """Pictures in -1..1, `B 3 H W`, to latents, `B latent_channels H/f W/f`."""
        return F.pixel_unshuffle(images, self.downscale_factor)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents, `B latent_channels h w`, to pictures, `B 3 h*f w*f`."""
        return F.pixel_shuffle(latents, self.downscale_factor)
