"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) through which a loss reaches every pixel.

Those of hog.py are targets: nothing is differentiated, and where a picture is flat, or a histogram is clipped, nothing
could be. These differ in three ways. Each colour channel votes instead of the strongest alone; histograms of what is
nearly flat fade out instead of being blown up to full length; and nothing is clipped.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from aaa.objectives.hog import BLOCKS, ORIENTATIONS

FAINT = 0.05  # mean length of gradients that count half: 6 levels of 255 between pixels two apart, in one colour
FLAT = 1e-12  # squared length that has no direction


def soft_histograms(images: Tensor, cell: int) -> Tensor:
    """The histograms of each cell, over the length of each of the blocks of 2 x 2 cells that it lies in.

    Args:
        images: in -1..1 or a little beyond, `B 3 H W`, sides divisible by `cell`.
        cell: side in pixels.

    Returns:
        `B 36 H/cell W/cell` float32, over the channels of a place of length 1/2 where its neighbours have as much to
        see, 1 at most, less where gradients are faint. Gradients of a loss are finite, and 0 where a picture is flat.
    """
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    flat = across.square() + down.square() < FLAT
    across, down = across.masked_fill(flat, 1.0), down.masked_fill(flat, 0.0)
    length = (across.square() + down.square()).sqrt().masked_fill(flat, 0.0)  # B 3 H W
    place = (torch.atan2(down, across) * (ORIENTATIONS / math.pi) - 0.5).remainder(ORIENTATIONS)  # in bins
    votes = [_votes(length, place, orientation) for orientation in range(ORIENTATIONS)]
    cells = F.avg_pool2d(torch.stack(votes, dim=1), cell, divisor_override=1)  # B O h w
    edged = F.pad(cells.square().sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    energy = F.avg_pool2d(edged, 2, stride=1, divisor_override=1)  # B 1 h+1 w+1
    scale = (energy + (FAINT * cell**2) ** 2).rsqrt() / math.sqrt(BLOCKS)
    height, width = cells.shape[-2:]
    return torch.cat([cells * scale[:, :, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)], dim=1)


def _votes(length: Tensor, place: Tensor, orientation: int) -> Tensor:
    """What an orientation gets of the gradients at each pixel, `B H W`: all of its own, nothing of those a bin away."""
    apart = (place - orientation).abs()
    if orientation == 0:
        apart = torch.minimum(apart, ORIENTATIONS - place)  # half a turn further it is the same
    return (length * (1 - apart).relu()).sum(dim=1)
