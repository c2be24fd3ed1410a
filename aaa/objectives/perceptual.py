"""A perceptual loss (Johnson et al. 2016, arXiv 1603.08155): the predicted picture is to look like the true one."""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from aaa.errors import UserError, require_one_of
from aaa.objectives.soft_hog import soft_histograms
from aaa.objectives.terms import ForwardPass, Term

TARGETS = ("hog", "vision")
KEY = "objective.terms.perceptual"


class SeesDifferentiably(Protocol):
    """A frozen network in whose features pictures are compared, `objective.terms.perceptual.vision`."""

    def features(self, images: Tensor) -> Tensor:
        """Of images in about -1..1, `B 3 H W`, `B D h w` float32; gradients flow to the images and to nothing else."""
        ...

    def flops(self) -> int:
        """Floating-point operations of a forward pass of it for one picture; a multiply and an add are two."""
        ...


class Perceptual(Term):
    """The distance between features of the predicted clean picture and of the true one, where there is little noise.

    `1 - cos` of what a network sees at each place, averaged over places: half the squared distance of the unit vectors
    that LPIPS compares (Zhang et al. 2018, arXiv 1801.03924), without its learned weights. Those of `hog` are half as
    long, shorter where a picture is nearly flat, so that it is about a quarter of `1 - cos`. Photoroom's PRX adds LPIPS
    and one in DINO's features to its 24-hour run, for pictures of little noise: where there is much, the best
    prediction is a mean of many pictures, which looks like none of them.

    Latents have to be pixels, as with encoder=pixel. Every picture is computed, whatever its noise level, so that all
    steps and processes take the same memory and time. The network is no part of the model: its weights get no
    gradients, and are neither saved nor averaged.

    Args:
        weight: in the loss.
        target: `hog`, soft histograms of gradients, which need no weights; or `vision`.
        below: noise level below which it counts, up to 1.
        cell_pixels: side of a cell of `hog`, by which the sides of pictures are divisible.
        until_step: see `Term`.
        vision: the network of `target=vision`.

    Raises:
        UserError: if there is no such target, or no network.
    """

    recordable = True

    def __init__(
        self,
        weight: float,
        target: str = "hog",
        below: float = 0.5,
        cell_pixels: int = 4,
        until_step: int | None = None,
        vision: SeesDifferentiably | None = None,
    ) -> None:
        super().__init__(weight, until_step)
        require_one_of(f"{KEY}.target", target, TARGETS)
        if target == "vision" and weight and vision is None:
            raise UserError(f"{KEY}.target=vision: {KEY}.vision names no model.")
        self.below, self.cell_pixels = below, cell_pixels
        self._vision = vision if target == "vision" else None

    def flops(self, height: int, width: int) -> int:  # noqa: ARG002
        """See `Term`.

        Training counts three times as much, which is right here too: a pass over each of the two pictures, and one
        back that stops at the predicted one.
        """
        return 0 if self._vision is None else self._vision.flops()

    def __call__(self, done: ForwardPass) -> Tensor:
        """See `Term`; 0 for samples of more noise."""
        true = pictures_of(done.batch.latents)
        predicted = pictures_of(done.predicted_latents)
        with torch.no_grad():
            wanted = self._features(true)
        distances = (self._features(predicted) - wanted).square().sum(dim=1) / 2  # B h w
        counts = done.draws.levels.sigma < self.below
        return distances.mean(dim=(1, 2)) * counts

    def _features(self, images: Tensor) -> Tensor:
        """At each place a vector of length 1, `B D h w`; of `hog` about 1/2, less where there is little to see."""
        if self._vision is None:
            return soft_histograms(images, self.cell_pixels)
        return F.normalize(self._vision.features(images), dim=1)


def pictures_of(latents: Tensor) -> Tensor:
    """Pictures, `B 3 H W` float32 in -1..1, of latents that are squares of their pixels, `B C h w`.

    Raises:
        UserError: if latents have not the channels of squares.
    """
    channels = latents.shape[1]
    side = math.isqrt(channels // 3)
    if channels != 3 * side**2:
        raise UserError(
            f"{KEY}: compares pictures, and latents of {channels} channels are no pixels. Use encoder=pixel or "
            f"encoder=patches, or {KEY}.weight=0."
        )
    return F.pixel_shuffle(latents.float(), side)
