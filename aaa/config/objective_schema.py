"""The keys of our own objective and of its terms: their types, ranges and what they are for."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from aaa.config.ranges import count, number, one_of, share


@dataclass
class ObjectiveConfig:
    """conf/objective: what the model predicts, how its errors count, and what adds to them.

    Attributes:
        prediction: `_target_`: what the model's output means; objective=clean has `least_sigma`.
        weighting: how much each noise level counts: scheduler (FLUX.2's bell with it, else none), none, flux2, min_snr.
        min_snr_gamma: of weighting=min_snr, the largest signal-to-noise ratio that counts.
        coupling: of noise and pictures: independent, immiscible (dealt out within the batch), nearest.
        coupling_candidates: of coupling=nearest, draws for each picture.
        terms: what adds to the error, by name; more of your own: `+objective.terms.NAME={_target_: ..., weight: ...}`.
    """

    prediction: Any = MISSING
    weighting: str = one_of("scheduler", "none", "flux2", "min_snr", default="scheduler")
    min_snr_gamma: float = number(5.0, above=0)
    coupling: str = one_of("independent", "immiscible", "nearest", default="independent")
    coupling_candidates: int = count(8, least=1)
    terms: Any = MISSING


@dataclass
class ContrastiveConfig:
    """DeltaFM (arXiv 2506.05350): away from the velocities of other pictures, those of other captions.

    Attributes:
        weight: lambda; 0: off.
        until_step: at which it ends; null: never.
    """

    weight: float = share(0.0)
    until_step: int | None = count(None, least=1)


@dataclass
class DispersiveConfig:
    """Dispersive loss (arXiv 2506.09027): hidden states of different pictures spread out.

    Attributes:
        weight: in the loss; 0: off.
        after_block: number of the block, from 1.
        temperature: of the squared distances, each divided by how many numbers are compared.
        until_step: at which it ends; null: never.
    """

    weight: float = number(0.0, least=0)
    after_block: int = count(2, least=1)
    temperature: float = number(0.5, above=0)
    until_step: int | None = count(None, least=1)


@dataclass
class AlignConfig:
    """Representation alignment (REPA, arXiv 2410.06940): a projector of hidden states comes near to a target.

    Attributes:
        weight: in the loss; 0: off.
        after_block: number of the block, from 1; a third of model.depth, and before blocks that tokens skip.
        target: hog (histograms of oriented gradients), latents (the picture's own) or vision (a model's patch tokens).
        vision: `_target_` of the model of target=vision; ours has `path`, the folder of a vision transformer.
        cells: of target=hog, along each side of a latent; they must divide its pixels.
        projector: linear, or conv (3 x 3).
        distance: cosine or smooth_l1.
        spatial_norm: whether each channel of the target is normalised over space (iREPA, arXiv 2512.10794).
        dim: width of hidden states; follows from the model.
        latent_channels: of the latents; follows from the encoder.
        until_step: at which it ends; null: never.
    """

    weight: float = number(0.0, least=0)
    after_block: int = count(least=1)
    target: str = one_of("hog", "latents", "vision", default="hog")
    vision: Any = None
    cells: int = count(1, least=1)
    projector: str = one_of("linear", "conv", default="linear")
    distance: str = one_of("cosine", "smooth_l1", default="cosine")
    spatial_norm: bool = False
    dim: int = MISSING
    latent_channels: int = MISSING
    until_step: int | None = count(None, least=1)


@dataclass
class VisionConfig:
    """The vision transformer of target=vision, of objective.terms.align and of objective.terms.perceptual.

    Attributes:
        path: its folder.
    """

    path: str | None = None


@dataclass
class PerceptualConfig:
    """Perceptual loss (PRX; arXiv 1603.08155): the predicted clean picture looks like the true one to a frozen network.

    Attributes:
        weight: in the loss; 0: off. Latents must be pixels.
        target: hog (soft histograms of oriented gradients) or vision (a model's patch tokens).
        below: noise level below which it counts.
        cell_pixels: of target=hog, side of a cell; it must divide encoder.downscale_factor.
        vision: `_target_` of the model of target=vision; ours has `path`, the folder of a vision transformer.
        until_step: at which it ends; null: never.
    """

    weight: float = number(0.0, least=0)
    target: str = one_of("hog", "vision", default="hog")
    below: float = number(0.5, above=0, most=1)
    cell_pixels: int = count(4, least=1)
    vision: Any = None
    until_step: int | None = count(None, least=1)


@dataclass
class InternalConfig:
    """Internal Guidance (arXiv 2512.24176), its training: a second head after a block, which guidance=internal asks.

    Attributes:
        weight: in the loss; 0: off.
        after_block: number of the block, from 1.
        dim: width of hidden states; follows from the model.
        latent_channels: of the latents; follows from the encoder.
        until_step: at which it ends, with a head that is not exported; null: never.
        model_head: block after which the model has the head; follows from model.internal_head. null: it is the term's.
    """

    weight: float = number(0.0, least=0)
    after_block: int = count(2, least=1)
    dim: int = MISSING
    latent_channels: int = MISSING
    until_step: int | None = count(None, least=1)
    model_head: int | None = count(None, least=1)


TERMS: dict[str, type] = {
    "aaa.objectives.contrastive.Contrastive": ContrastiveConfig,
    "aaa.objectives.dispersive.Dispersive": DispersiveConfig,
    "aaa.objectives.align.Align": AlignConfig,
    "aaa.objectives.internal.Internal": InternalConfig,
    "aaa.objectives.perceptual.Perceptual": PerceptualConfig,
}
