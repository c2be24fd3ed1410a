"""Does the model draw, or recall? The nearest training picture of each one it draws."""

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from aaa.errors import UserError
from aaa.evaluation.evaluated_model import EvaluatedModel, Real, trained_on
from aaa.evaluation.grid import make_grid
from aaa.evaluation.protocol import NotApplicable

logger = logging.getLogger(__name__)

PAIRS = 8  # of drawn and training pictures to look at
BATCH_SIZE = 256
QUANTILE = 0.05


class NearestTraining:
    """Distance of each drawn picture to the nearest training picture, beside that of the held-out one of its prompt.

    Distances are root mean squares over the numbers of normalised latents. A drawn picture counts as a copy if it is
    nearer to a training picture than all but 5% of the held-out ones are: a model that makes up new pictures has a
    share of about 5%, one that recalls has more. The held-out prompts are drawn, so that nothing is asked for by name.

    Args:
        num_images: to draw, at most as many as records are held out.
        num_train: training pictures to search.
    """

    def __init__(self, num_images: int = 256, num_train: int = 20_000) -> None:
        if num_images < 1 or num_train < 1:
            raise UserError("evaluation: num_images and num_train of NearestTraining must be at least 1.")
        self.num_images, self.num_train = num_images, num_train

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the pictures that are held out, and look for some that were trained on.

        Raises:
            NotApplicable: if there are too few.
        """
        if not len(trained_on(evaluated.records)):
            raise NotApplicable("Nothing is trained on that could be recalled.")
        if min(self.num_images, len(evaluated.records["validation"])) < 2:
            raise NotApplicable("Fewer than two records are held out, so nothing says how near is too near.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`memorisation/...`: medians of the distances, and the share of copies; keeps `nearest` and `distances`.

        Of pictures of a size that training pictures have: nothing says how near others are.
        """
        self.check(evaluated)
        drawn = evaluated.draw_originals("validation", self.num_images)
        train = evaluated.real("trained_on", self.num_train)
        held_out = Real(evaluated.drawer.cache, drawn.records)
        (distance, nearest), (usual, _) = (
            search(evaluated, latents, train) for latents in (drawn.latents, list(held_out.latents()))
        )
        comparable = usual.isfinite().nonzero()[:, 0]
        if not len(comparable):
            raise NotApplicable("No training picture is of the size of one that is held out.")
        distance, nearest, usual = (values[comparable] for values in (distance, nearest, usual))
        threshold = usual.quantile(QUANTILE).item()
        metrics = {
            "memorisation/distance_median": distance.median().item(),
            "memorisation/held_out_distance_median": usual.median().item(),
            "memorisation/copies": (distance < threshold).float().mean().item(),
        }
        logger.info(
            "%.1f%% of %d drawn pictures are nearer to a training picture than %.0f%% of the held-out ones are; "
            "median distance %.3f, of held-out pictures %.3f",
            100 * metrics["memorisation/copies"],
            len(distance),
            100 * (1 - QUANTILE),
            metrics["memorisation/distance_median"],
            metrics["memorisation/held_out_distance_median"],
        )
        closest = distance.argsort()[:PAIRS].tolist()
        pictures, captions = [], []
        for place in closest:
            own, record = int(comparable[place]), int(train.records[nearest[place]])
            pictures += [drawn.images[own], evaluated.picture(record)]
            captions += [f"drawn: {drawn.prompts[own]}", f"{distance[place]:.3f}: {evaluated.prompt(record)}"]
        evaluated.keep("nearest", make_grid(pictures, captions))
        evaluated.keep("distances", _histogram(distance, usual, threshold))
        return metrics


def search(evaluated: EvaluatedModel, latents: Sequence[Tensor], train: Real) -> tuple[Tensor, Tensor]:
    """As `nearest_of` all of `train`, which the processes share out."""
    parts = torch.arange(len(train)).split(BATCH_SIZE)
    found = evaluated.each(parts, lambda some: [nearest_of(latents, train.part(p.tolist()).latents()) for p in some], 1)
    distances = torch.stack([distance for distance, _ in found])
    nearest = torch.stack([part[0] + place for part, (_, place) in zip(parts, found, strict=True)])
    smallest, where = distances.min(dim=0)
    return smallest, nearest.gather(0, where[None])[0]


def nearest_of(latents: Sequence[Tensor], train: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Distance of each to its nearest in `train`, and which that is; only those of equal size are compared."""
    distances = torch.full((len(latents),), torch.inf)
    nearest = torch.zeros(len(latents), dtype=torch.long)
    ours = {shape: [i for i, latent in enumerate(latents) if latent.shape == shape] for shape in _shapes(latents)}
    vectors = {shape: torch.stack([latents[i].flatten() for i in rows]).float() for shape, rows in ours.items()}
    remaining = enumerate(train)
    while block := list(islice(remaining, BATCH_SIZE)):
        for shape, rows in ours.items():
            theirs = [(number, latent) for number, latent in block if latent.shape == shape]
            if not theirs:
                continue
            numbers = torch.tensor([number for number, _ in theirs])
            others = torch.stack([latent.flatten() for _, latent in theirs]).float()
            found, column = (torch.cdist(vectors[shape], others) / others.shape[1] ** 0.5).min(dim=1)
            places = torch.tensor(rows)
            nearer = found < distances[places]
            distances[places[nearer]] = found[nearer]
            nearest[places[nearer]] = numbers[column[nearer]]
    return distances, nearest


def _shapes(latents: Sequence[Tensor]) -> set[torch.Size]:
    return {latent.shape for latent in latents}


def _histogram(drawn: Tensor, usual: Tensor, threshold: float) -> Image.Image:
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), constrained_layout=True)
    axis = figure.subplots()
    axis.hist([drawn.numpy(), usual.numpy()], bins=30, label=["drawn", "real, held out"], color=["C1", "C0"])
    axis.axvline(threshold, color="black", linestyle="--", label="nearer: counts as a copy")
    axis.set(xlabel="distance to the nearest training picture", ylabel="pictures")
    axis.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
