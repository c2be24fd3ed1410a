"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005): what a picture's edges look like in each cell."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from aaa.errors import UserError

ORIENTATIONS = 9  # unsigned, over half a turn
BLOCKS = 4  # of 2 x 2 cells that each cell lies in
HOG_CHANNELS = ORIENTATIONS * BLOCKS
CLIP = 0.2  # of a normalised histogram ("L2-Hys")


class OrientedGradients:
    """The histograms of `cells` x `cells` cells in each latent's square of the picture, as channels of its place.

    Args:
        cells: along each side of a latent.

    Attributes:
        name: by which a cache knows them.
        channels: at each place.

    Raises:
        UserError: if there is no such number of cells.
    """

    def __init__(self, cells: int) -> None:
        if cells < 1:
            raise UserError(f"objective.terms.align.cells={cells}: must be at least 1.")
        self.cells = cells
        self.name = "hog" if cells == 1 else f"hog_{cells}x{cells}"
        self.channels = HOG_CHANNELS * cells**2

    def compute(self, images: Tensor, side: int) -> Tensor:
        """Of images in -1..1, `B 3 H W`: `B channels H/side W/side` float32; see `Extra`.

        `cells` must divide `side`, which the config's check asks first.
        """
        return F.pixel_unshuffle(histograms_of_gradients(images, side // self.cells), self.cells)


def histograms_of_gradients(images: Tensor, cell: int) -> Tensor:
    """The histograms of each cell, normalised in each of the blocks of 2 x 2 cells that it lies in.

    At each pixel counts the gradient of the colour channel that has the largest, shared out by its length between the
    two nearest orientations.

    Args:
        images: in -1..1, `B 3 H W`, sides divisible by `cell`.
        cell: side in pixels.

    Returns:
        `B 36 H/cell W/cell` float32, in 0..1.
    """
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    length, channel = (across.square() + down.square()).sqrt().max(dim=1, keepdim=True)  # B 1 H W
    across, down = across.gather(1, channel), down.gather(1, channel)
    place = torch.atan2(down, across).remainder(math.pi) / math.pi * ORIENTATIONS - 0.5  # B 1 H W, in bins
    lower = place.floor()
    share = place - lower
    votes = length.new_zeros(*length.shape, ORIENTATIONS)  # B 1 H W O
    for bins, weight in ((lower, 1 - share), (lower + 1, share)):
        votes.scatter_(-1, bins.long().remainder(ORIENTATIONS)[..., None], (length * weight)[..., None])
    cells = reduce(votes, "b 1 (h y) (w x) o -> b o h w", "sum", y=cell, x=cell)
    return _normalised(cells)


def _normalised(cells: Tensor) -> Tensor:
    """Each cell's histogram, `B O h w`, over the length of each block's that it is part of, clipped, `B (4 O) h w`."""
    edged = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    energy = F.avg_pool2d(edged.square().sum(dim=1, keepdim=True), 2, stride=1, divisor_override=1)  # B 1 h+1 w+1
    height, width = cells.shape[-2:]
    blocks = [energy[:, :, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)]
    parts = [(cells / (block.sqrt() + 1e-3)).clamp(max=CLIP) / CLIP for block in blocks]
    return rearrange(torch.stack(parts, dim=1), "b k o h w -> b (k o) h w")
