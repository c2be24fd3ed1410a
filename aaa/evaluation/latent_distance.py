"""Are drawn pictures distributed as the data's are? Frechet and kernel distance in the space of latents."""

import logging
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from aaa.errors import UserError
from aaa.evaluation.distances import frechet_distance, jackknife_error, kernel_distance
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable

logger = logging.getLogger(__name__)

GRID = 4  # latents are pooled to so many rows and columns, so that all sizes have features of one length
LEAST = 8  # pictures, below which nothing can be said


class LatentDistance:
    """Frechet and kernel distance between drawn and real latents, with standard errors.

    The features are latents pooled to a small grid, along the directions in which the training latents vary most
    (their principal components, each scaled to unit variance). They need no pretrained network, and suit data that such
    networks know nothing of; they say nothing of detail finer than the grid.

    `..._floor` is the distance of as many training pictures from the others (or of half of them, if they are fewer
    than twice as many): what a perfect model would have.

    Args:
        num_images: to draw, for prompts of training records from all over the data.
        num_real: training pictures to compare with.
        components: principal components, at most; at most a quarter of `num_images`.
    """

    def __init__(self, num_images: int = 256, num_real: int = 4096, components: int = 32) -> None:
        for name, value, least in (
            ("num_images", num_images, LEAST),
            ("num_real", num_real, LEAST),
            ("components", components, 1),
        ):
            if value < least:
                raise UserError(f"evaluation: {name}={value} of LatentDistance: must be at least {least}.")
        self.num_images, self.num_real, self.components = num_images, num_real, components

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the training pictures.

        Raises:
            NotApplicable: if there are too few.
        """
        if (count := len(evaluated.records["train"])) < LEAST:
            raise NotApplicable(f"Of {count} pictures no distribution can be told; it takes {LEAST}.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/latent_frechet`, `quality/latent_kernel`; each with `_standard_error` and `_floor`."""
        self.check(evaluated)
        drawn = _pooled(evaluated.draw_spread("train", self.num_images).latents)
        real = evaluated.each_real(evaluated.real("train", self.num_real), lambda some: _pooled(some.latents()))
        apart = min(len(drawn), len(real) // 2)
        floor, reference = real[:apart], real[apart:]
        features = _Principal(reference, min(self.components, len(floor) // 4, len(drawn) // 4))
        drawn, floor, reference = (features(vectors) for vectors in (drawn, floor, reference))
        metrics: dict[str, float] = {}
        for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
            metric = f"quality/latent_{name}"
            metrics[metric] = distance(drawn, reference)
            metrics[f"{metric}_standard_error"] = jackknife_error(distance, drawn, reference)
            metrics[f"{metric}_floor"] = distance(floor, reference)
        logger.info(
            "Latents of %d drawn pictures: Frechet distance %.3f +- %.3f (%d real ones: %.3f), kernel distance "
            "%.3f +- %.3f (%.3f)",
            len(drawn),
            *(metrics[f"quality/latent_frechet{end}"] for end in ("", "_standard_error")),
            len(floor),
            metrics["quality/latent_frechet_floor"],
            *(metrics[f"quality/latent_kernel{end}"] for end in ("", "_standard_error", "_floor")),
        )
        return metrics


class _Principal:
    """Projects on the directions of greatest variance of some vectors, `N D`, each scaled to unit variance."""

    def __init__(self, vectors: Tensor, components: int) -> None:
        self.mean = vectors.mean(0)
        _, singular, directions = torch.linalg.svd(vectors - self.mean, full_matrices=False)
        kept = min(components, int((singular > singular[0] * 1e-4).sum()))
        self.directions = directions[:kept].T / (singular[:kept] / (len(vectors) - 1) ** 0.5)

    def __call__(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) @ self.directions


def _pooled(latents: Iterable[Tensor]) -> Tensor:
    """Features of latents, `N C*GRID*GRID`."""
    features = [F.adaptive_avg_pool2d(latent.float(), GRID).flatten() for latent in latents]
    return torch.stack(features) if features else torch.empty(0, 1)
