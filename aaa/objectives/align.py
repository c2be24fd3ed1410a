"""Representation alignment (REPA, Yu et al. 2025, arXiv 2410.06940): a block is to hold what a picture is known by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from aaa.errors import UserError, require_one_of
from aaa.objectives.hog import OrientedGradients
from aaa.objectives.terms import Extra, ForwardPass, Term, mean_over

TARGETS = ("hog", "latents", "vision")
PROJECTORS = ("linear", "conv")
DISTANCES = ("cosine", "smooth_l1")


class SeesPictures(Protocol):
    """A model that is aligned to, `objective.terms.align.vision`; see encoders/vision.py.

    Attributes:
        channels: of what it gives.
        files: that it is made of.
    """

    @property
    def channels(self) -> int: ...  # noqa: D102

    @property
    def files(self) -> Sequence[Path]: ...  # noqa: D102

    def compute(self, images: Tensor, side: int) -> Tensor:
        """See `Extra`."""
        ...

    def release(self) -> None:
        """See `Extra`."""
        ...


class Align(Term):
    """The distance between what a projector makes of a block's tokens and a target at each of their places.

    `mean over places of 1 - cos(h(z), y)` (REPA), or smooth L1 as SRA 2 has it (arXiv 2601.17830). The target is what a
    vision model of others sees there (REPA), or needs no weights: histograms of oriented gradients of the picture
    (tried in iREPA, arXiv 2512.10794), or its own clean latents (SRA 2). iREPA projects by a 3 x 3 convolution and
    normalises each channel of the target over space, so that what is alike all over a picture does not count.

    Args:
        weight: in the loss; REPA has 0.5.
        after_block: number of the block, from 1; REPA's best is at a third of the depth.
        target: `vision`, `hog` or `latents`.
        projector: `linear` or `conv`.
        distance: `cosine` or `smooth_l1`.
        spatial_norm: whether targets are normalised over space.
        cells: of `hog`, along each side of a latent. Of squares of many pixels one histogram says little of where
            edges are.
        dim: width of hidden states.
        latent_channels: of the latents.
        until_step: see `Term`; where a model is trained for long, alignment is best ended early (HASTE).
        vision: the model of `target=vision`.

    Raises:
        UserError: if there is no such target, projector or distance, or no vision model that can be read.
    """

    recordable = True

    def __init__(
        self,
        weight: float,
        after_block: int,
        target: str,
        projector: str,
        distance: str,
        spatial_norm: bool,
        dim: int,
        latent_channels: int,
        until_step: int | None = None,
        vision: SeesPictures | None = None,
        cells: int = 1,
    ) -> None:
        super().__init__(weight, until_step)
        for key, value, known in (
            ("target", target, TARGETS),
            ("projector", projector, PROJECTORS),
            ("distance", distance, DISTANCES),
        ):
            require_one_of(f"objective.terms.align.{key}", value, known)
        self.after_block, self.after_blocks = after_block, (after_block,)
        self.distance, self.spatial_norm = distance, spatial_norm
        channels = latent_channels
        self._extra = None if target == "latents" else target  # the name of the target in the cache
        if target == "hog":
            edges = OrientedGradients(cells)
            channels, self._extra = edges.channels, edges.name
            self.extras = {edges.name: Extra(channels, edges.compute)}
        if target == "vision" and weight:
            if vision is None:
                raise UserError("objective.terms.align.target=vision: objective.terms.align.vision names no model.")
            channels = vision.channels
            self.extras = {"vision": Extra(channels, vision.compute, vision.files, vision.release)}
        kernel = 1 if projector == "linear" else 3
        self._multiplications = dim * channels * kernel**2  # at each place
        if weight:
            self.module = nn.Conv2d(dim, channels, kernel, padding="same")

    def flops(self, height: int, width: int) -> int:
        """See `Term`."""
        return 2 * height * width * self._multiplications

    def __call__(self, done: ForwardPass) -> Tensor:
        """See `Term`."""
        clean = done.batch.latents
        target = (clean if self._extra is None else done.batch.extras[self._extra]).float()  # B F H W
        if self.spatial_norm:
            target = target - target.mean(dim=(2, 3), keepdim=True)
            target = target / (target.std(dim=(2, 3), keepdim=True, correction=0) + 1e-6)
        hidden = rearrange(done.hidden[self.after_block], "b (h w) d -> b d h w", h=clean.shape[2])
        assert self.module is not None
        projected = self.module(hidden).float()
        if self.distance == "cosine":
            distances = 1 - F.cosine_similarity(projected, target, dim=1)  # B H W
        else:
            distances = F.smooth_l1_loss(projected, target, reduction="none")  # B F H W
        return mean_over(distances, done.computed.get(self.after_block))
