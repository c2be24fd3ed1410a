"""Are drawn pictures distributed as the data's are? Frechet and kernel distance in the space of latents."""

import logging
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from aaa.errors import UserError
from aaa.evaluation.distances import frechet_distance, jackknife_error, kernel_distance
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable, require_held_out
from aaa.evaluation.reference import Comparison, kind_of, require_split

logger = logging.getLogger(__name__)

GRID = 4  # latents are pooled to so many rows and columns, so that all sizes have features of one length
LEAST = 8  # pictures, below which nothing can be said


class LatentDistance:
    """Frechet and kernel distance between drawn and real latents, with standard errors.

    The features are latents pooled to a small grid, along the directions in which the training latents vary most
    (their principal components, each scaled to unit variance). They need no pretrained network, and suit data that such
    networks know nothing of; they say nothing of detail finer than the grid.

    `..._floor` is the distance of as many pictures of the data from the others (or of half of them, if they are fewer
    than twice as many): what a perfect model would have.

    Args:
        num_images: to draw, for prompts of records from all over the data.
        num_real: pictures of the data to compare with.
        components: principal components, at most; at most a quarter of `num_images`.
        split: whose prompts and pictures these are, `train` or `validation`; None: the training ones, of data that is
            never trained on those that are held out.
    """

    def __init__(
        self, num_images: int = 256, num_real: int = 4096, components: int = 32, split: str | None = None
    ) -> None:
        for name, value, least in (
            ("num_images", num_images, LEAST),
            ("num_real", num_real, LEAST),
            ("components", components, 1),
        ):
            if value < least:
                raise UserError(f"evaluation: {name}={value} of LatentDistance: must be at least {least}.")
        self.num_images, self.num_real, self.components = num_images, num_real, components
        self.split = require_split(split)

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the pictures.

        Raises:
            NotApplicable: if there are too few.
            UserError: the same, where held-out ones were asked for.
        """
        require_held_out(evaluated, self.split, LEAST, "a distance of latents")
        if (count := len(evaluated.records[evaluated.split_to_judge(self.split)])) < LEAST:
            raise NotApplicable(f"Of {count} pictures no distribution can be told; it takes {LEAST}.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/latent_frechet`, `quality/latent_kernel`; each with `_standard_error` and `_floor`.

        Of held-out pictures they are `quality/latent_frechet-validation` and so on.
        """
        self.check(evaluated)
        split = evaluated.split_to_judge(self.split)
        kind = kind_of(split, usual="train")
        drawn = _pooled(evaluated.draw_spread(split, self.num_images).latents)
        real = evaluated.each_real(evaluated.real(split, self.num_real), lambda some: _pooled(some.latents()))
        apart = min(len(drawn), len(real) // 2)
        floor, reference = real[:apart], real[apart:]
        features = _Principal(reference, min(self.components, len(floor) // 4, len(drawn) // 4))
        drawn, floor, reference = (features(vectors) for vectors in (drawn, floor, reference))
        metrics: dict[str, float] = {}
        for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
            metric = f"quality/latent_{name}{kind}"
            metrics[metric] = distance(drawn, reference)
            metrics[f"{metric}_standard_error"] = jackknife_error(distance, drawn, reference)
            metrics[f"{metric}_floor"] = distance(floor, reference)
        comparison = Comparison(split, "latents", len(drawn), len(reference))
        evaluated.tell(metrics, comparison)
        logger.info(
            "Latents of pictures (%s): Frechet distance %.3f +- %.3f (%d real ones: %.3f), kernel distance "
            "%.3f +- %.3f (%.3f)",
            comparison,
            *(metrics[f"quality/latent_frechet{kind}{end}"] for end in ("", "_standard_error")),
            len(floor),
            metrics[f"quality/latent_frechet{kind}_floor"],
            *(metrics[f"quality/latent_kernel{kind}{end}"] for end in ("", "_standard_error", "_floor")),
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
