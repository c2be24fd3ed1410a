"""Is what a model draws for a prompt nearer to that prompt's own picture than to all the others of the data?"""

import logging
import re
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor

from aaa.errors import require_number
from aaa.evaluation.drawing import Drawn
from aaa.evaluation.evaluated_model import EvaluatedModel, Real, trained_on
from aaa.evaluation.grid import make_grid
from aaa.evaluation.picture_features import BlurredLab, Features, PooledVision
from aaa.evaluation.protocol import NotApplicable

logger = logging.getLogger(__name__)

FEW = 5  # `top5`: the right picture is among so many nearest ones
SHOWN = 8  # drawn pictures, each beside the nearest real one and the right one
SAME = 1e-5  # difference of distances, below which two pictures are equally near


class Ranks(NamedTuple):
    """Where the right picture is among the real ones, in order of their distance to a drawn one.

    Attributes:
        rank: of the right one, `N`: how many are nearer.
        nearest: which is the nearest, `N`.
        distance: to the right one, `N`, over the mean between two real pictures.
    """

    rank: Tensor
    nearest: Tensor
    distance: Tensor


class NearestReal:
    """For data in which each prompt is of one picture: how often the nearest of all real pictures is the right one.

    Pictures are drawn for prompts that were trained on (`seen`), for those that were not (`held_out`), and for trained
    ones that share most words with these (`seen_alike`), which are about as hard. A picture of the data that is the
    right one's copy counts as right. A model that draws the most similar training picture for a held-out prompt has
    none right, whatever it has of the others.

    Args:
        num_images: pictures to draw of each kind.
        num_real: real pictures to search, besides the right ones.
        vision_model: folder of a vision model of transformers, in whose features pictures are compared as well
            (`..._vision`); None for none.

    Raises:
        UserError: if a number is below 1, or there is no such model.
    """

    def __init__(self, num_images: int = 256, num_real: int = 5000, vision_model: str | None = None) -> None:
        require_number("evaluation.num_images", num_images, least=1)
        require_number("evaluation.num_real", num_real, least=1)
        self.num_images, self.num_real = num_images, num_real
        self.features: dict[str, Features] = {"": BlurredLab()}
        if vision_model is not None:
            self.features["_vision"] = PooledVision(vision_model)

    def check(self, evaluated: EvaluatedModel) -> None:
        """Look whether prompts tell pictures apart.

        Raises:
            NotApplicable: if most of them are of several pictures, there are fewer than two pictures, or none of them
                is trained on or held out.
        """
        if not any(map(len, evaluated.records.values())):
            raise NotApplicable("No record is trained on or held out, whose prompt could be drawn for.")
        records = [evaluated.drawer.cache.records[index] for index in _originals(evaluated)]
        if len(records) < 2:
            raise NotApplicable("There are no two pictures.")
        if len({record.prompt for record in records}) < len({record.picture or record.key for record in records}) / 2:
            raise NotApplicable("Most prompts are of several pictures, so none of them is the right one.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/right_seen`, `..._held_out`, `..._seen_alike`: the share that is nearest to the right picture.

        Each with `_top5`, the bounds of its 95% interval (Wilson 1927) `_low` and `_high`, and `_distance` to the right
        picture, of which 1 is the mean between two real ones. Keeps `nearest_real`: drawn, nearest, right.
        """
        self.check(evaluated)
        known = evaluated.originals(trained_on(evaluated.records).tolist())
        drawn = {
            "seen": evaluated.draw_originals("trained_on", self.num_images),
            "held_out": evaluated.draw_originals("validation", self.num_images),
        }
        if (alike := _alike(evaluated, known, drawn["held_out"].records)).numel():
            drawn["seen_alike"] = evaluated.drawer.draw(evaluated.model, alike, on_drawn=evaluated.on_drawn)
        drawn = {name: pictures for name, pictures in drawn.items() if pictures.images}
        real = self._real(evaluated, torch.cat([pictures.records for pictures in drawn.values()]))
        metrics: dict[str, float] = {}
        for suffix, features in self.features.items():
            if isinstance(features, PooledVision):
                features.to(evaluated.drawer.device)
            vectors = evaluated.each_real(real, partial(_of_real, features, evaluated))
            for name, pictures in drawn.items():
                own = torch.stack(evaluated.each(pictures.images, partial(_of_drawn, features)))
                ranks = ranks_of(own, vectors, _places(real, pictures.records))
                metrics |= _metrics(f"quality/right_{name}{suffix}", ranks)
                if name == "held_out" or len(drawn) == 1:
                    evaluated.keep(f"nearest_real{suffix}", _shown(evaluated, pictures, real, ranks))
            if isinstance(features, PooledVision):
                features.to(torch.device("cpu"))  # the memory is training's
        self._say(drawn, metrics, len(real))
        return metrics

    def _real(self, evaluated: EvaluatedModel, right: Tensor) -> Real:
        """Pictures to search: those of the prompts, and others spread evenly over the data."""
        everything = _originals(evaluated)
        spread = everything[:: max(-(-len(everything) // self.num_real), 1)]
        return Real(evaluated.drawer.cache, torch.tensor(sorted({*spread, *right.tolist()})))

    def _say(self, drawn: dict[str, Drawn], metrics: dict[str, float], searched: int) -> None:
        for name, pictures in drawn.items():
            of_it = [100 * metrics[f"quality/right_{name}{end}"] for end in ("", "_low", "_high", "_top5")]
            logger.info(
                "Of %d pictures for %s prompts, %.1f%% (95%% interval %.1f to %.1f) are nearest to the right one of %d "
                "real ones, %.1f%% have it among the nearest %d.",
                len(pictures.images),
                name.replace("_", "-"),
                *of_it[:3],
                searched,
                of_it[3],
                FEW,
            )


def _of_real(features: Features, evaluated: EvaluatedModel, real: Real) -> Tensor:
    return features(evaluated.decode(latents) for latents in real.latents())


def _of_drawn(features: Features, pictures: Sequence[Image.Image]) -> list[Tensor]:
    return [vector.clone() for vector in features(pictures)]


def ranks_of(drawn: Tensor, real: Tensor, right: Tensor) -> Ranks:
    """Rank the real pictures by distance to each drawn one.

    Args:
        drawn: features, `N D`.
        real: features, `M D`.
        right: which real one each drawn one should be, `N`.
    """
    # Not by matrix products: the differences of near neighbours would be lost in their rounding.
    distances = torch.cdist(drawn, real, compute_mode="donot_use_mm_for_euclid_dist")  # N M
    own = distances.gather(1, right[:, None])
    usual = torch.nn.functional.pdist(real[:: -(-len(real) // 512)]).mean()
    return Ranks((distances < own - SAME).sum(dim=1), distances.argmin(dim=1), own[:, 0] / usual)


def _metrics(name: str, ranks: Ranks) -> dict[str, float]:
    right = int((ranks.rank == 0).sum())
    interval = binomtest(right, len(ranks.rank)).proportion_ci(0.95, method="wilson")
    return {
        name: right / len(ranks.rank),
        f"{name}_low": float(interval.low),
        f"{name}_high": float(interval.high),
        f"{name}_top5": (ranks.rank < FEW).float().mean().item(),
        f"{name}_distance": ranks.distance.mean().item(),
    }


def _originals(evaluated: EvaluatedModel) -> list[int]:
    """Records of the data, trained on, held out or left out, without mirrored copies."""
    return evaluated.originals(evaluated.span)


def _places(real: Real, records: Tensor) -> Tensor:
    return torch.searchsorted(real.records, records)


def _alike(evaluated: EvaluatedModel, trained_on: Sequence[int], held_out: Tensor) -> Tensor:
    """For each held-out record one to train on, each at most once, whose prompt has most words in common with it.

    That is by the share of the words of both that both have (Jaccard's index); of equally good ones the first, whose
    place has nothing to do with the prompt.
    """

    def words(record: int) -> set[str]:
        return set(re.findall(r"\w+", evaluated.prompt(record).lower()))

    wanted = [words(record) for record in held_out.tolist()]
    having: dict[str, list[int]] = {word: [] for said in wanted for word in said}
    lengths = []
    for place, record in enumerate(trained_on):
        own = words(record)
        lengths.append(len(own))
        for word in own & having.keys():
            having[word].append(place)
    places = {word: torch.tensor(found, dtype=torch.long) for word, found in having.items()}
    number = torch.tensor(lengths, dtype=torch.double)
    taken = torch.zeros(len(trained_on), dtype=torch.bool)
    chosen = []
    for said in wanted[: len(trained_on)]:
        shared = torch.zeros_like(number)
        for word in said:
            shared[places[word]] += 1
        either = (len(said) + number - shared).clamp(min=1)  # prompts may be without words
        best = int((shared / either).masked_fill(taken, -1).argmax())
        taken[best] = True
        chosen.append(trained_on[best])
    return torch.tensor(chosen, dtype=torch.long)


def _shown(evaluated: EvaluatedModel, drawn: Drawn, real: Real, ranks: Ranks) -> Image.Image:
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for place, record in enumerate(drawn.records[:SHOWN].tolist()):
        nearest = int(real.records[ranks.nearest[place]])
        pictures += [drawn.images[place], evaluated.picture(nearest), evaluated.picture(record)]
        captions += [
            f"drawn: {drawn.prompts[place]}",
            f"nearest: {evaluated.prompt(nearest)}",
            f"right, {int(ranks.rank[place])} are nearer",
        ]
    return make_grid(pictures, captions, columns=6)
