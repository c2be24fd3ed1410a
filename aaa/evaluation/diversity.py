"""How different are the pictures of one prompt?"""

import logging
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from aaa.data.records import Split
from aaa.errors import UserError
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.grid import make_grid
from aaa.evaluation.protocol import NotApplicable

logger = logging.getLogger(__name__)

REAL = 64  # training pictures, whose differences are the measure
ALIKE = "There are no two different training pictures of one size."


class Diversity:
    """Mean distance between pictures of one prompt by different seeds, as a share of that between training pictures.

    0 means that the seed does not matter; where a prompt leaves nothing open, as in data=shapes, that is right.

    Args:
        num_prompts: of records that are held out, or trained on if none are.
        num_seeds: pictures of each.
    """

    def __init__(self, num_prompts: int = 8, num_seeds: int = 8) -> None:
        if num_prompts < 1 or num_seeds < 2:
            raise UserError("evaluation: Diversity needs num_prompts of at least 1 and num_seeds of at least 2.")
        self.num_prompts, self.num_seeds = num_prompts, num_seeds

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the training pictures.

        Raises:
            NotApplicable: if there is but one.
        """
        if len(evaluated.records["train"]) < 2:
            raise NotApplicable(ALIKE)

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/diversity` and its standard error over prompts; keeps `seeds`, a row a prompt."""
        self.check(evaluated)
        split: Split = "validation" if len(evaluated.records["validation"]) else "train"
        usual = _usual_distance(list(evaluated.real("train", REAL).latents()))
        drawn = evaluated.draw_repeats(split, self.num_prompts, self.num_seeds)
        shares = torch.tensor([_mean_distance(torch.stack(list(of_one.latents))) / usual for of_one in drawn])
        metrics = {"quality/diversity": shares.mean().item()}
        if len(shares) > 1:
            metrics["quality/diversity_standard_error"] = shares.std().item() / len(shares) ** 0.5
        logger.info(
            "Pictures of one prompt differ by %.1f%% of what training pictures do.", 100 * metrics["quality/diversity"]
        )
        pictures = [picture for of_one in drawn for picture in of_one.images]
        captions = [f"seed {evaluated.drawer.seed + number}" for _ in drawn for number in range(self.num_seeds)]
        prompts = {row * self.num_seeds: of_one.prompts[0] for row, of_one in enumerate(drawn)}
        evaluated.keep("seeds", make_grid(pictures, captions, columns=self.num_seeds, headings=prompts))
        return metrics


def _usual_distance(real: Sequence[Tensor]) -> float:
    """Between training pictures: of several sizes, those of the commonest.

    Raises:
        NotApplicable: if there are no two of it, or these are the same.
    """
    ((commonest, _),) = Counter(latent.shape for latent in real).most_common(1)
    alike = torch.stack([latent for latent in real if latent.shape == commonest])
    if len(alike) < 2 or (usual := _mean_distance(alike)) == 0:
        raise NotApplicable(ALIKE)
    return usual


def _mean_distance(latents: Tensor) -> float:
    """Between any two, root mean square over their numbers."""
    vectors = latents.flatten(1).float()
    distances: Tensor = torch.nn.functional.pdist(vectors) / vectors.shape[1] ** 0.5
    return distances.mean().item()
