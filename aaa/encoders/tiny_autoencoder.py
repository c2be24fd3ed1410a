"""TAEF2, Ollin Boer Bohan's tiny autoencoder for the latent space of FLUX.2 (github.com/madebyollin/taesd).

Convolutions and ReLUs, 1.3 million parameters each way; module names are those of its published files.
"""

import torch
from torch import Tensor, nn

WIDTH = 64
LATENT_CHANNELS = 32
NORM_GROUPS = 4


class Block(nn.Module):
    """Three convolutions beside a shortcut; deep down also a wide, normalised bottleneck before them.

    Args:
        wide: whether there is that bottleneck, which sees the statistics of the whole picture.
    """

    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        )
        self.pool = (
            nn.Sequential(
                nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
                nn.GroupNorm(NORM_GROUPS, 4 * WIDTH),
                nn.ReLU(),
                nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
            )
            if wide
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features, `B 64 H W`, to features."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class SoftClamp(nn.Module):
    """Bends latents into -3..3, where the decoder was trained."""

    def forward(self, latents: Tensor) -> Tensor:
        """Any shape."""
        return 3 * torch.tanh(latents / 3)


def _halve() -> nn.Module:
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)


def _double() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]


def make_encoder() -> nn.Sequential:
    """Pictures in 0..1, `B 3 H W`, to raw latents, `B 32 H/8 W/8`."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), Block()]
    for wide in (False, False, True):
        layers += [_halve(), Block(wide), Block(wide), Block(wide)]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, LATENT_CHANNELS, 3, padding=1))


def make_decoder() -> nn.Sequential:
    """Raw latents, `B 32 h w`, to pictures in about 0..1, `B 3 8h 8w`."""
    layers: list[nn.Module] = [SoftClamp(), nn.Conv2d(LATENT_CHANNELS, WIDTH, 3, padding=1), nn.ReLU()]
    for wide in (True, False, False):
        layers += [Block(wide), Block(wide), Block(wide), *_double()]
    return nn.Sequential(*layers, Block(), nn.Conv2d(WIDTH, 3, 3, padding=1))


def pack(latents: Tensor) -> Tensor:
    """Fold each 2 x 2 square of latents into channels as FLUX.2 does: `B 32 2h 2w` to `B 128 h w`."""
    return nn.functional.pixel_unshuffle(latents, 2)


def unpack(latents: Tensor) -> Tensor:
    """The inverse of `pack`."""
    return nn.functional.pixel_shuffle(latents, 2)
