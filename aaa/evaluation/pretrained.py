"""Scores that need somebody else's network: CLIP score, and Frechet and kernel inception distance.

CLIP runs in transformers, the inception network in torchmetrics (pip install -e ".[metrics]"). Their weights are never
downloaded behind one's back.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from aaa.data.records import Split
from aaa.errors import UserError, reason
from aaa.evaluation.batched_features import (
    as_bytes,
    by_size,
    data_pictures,
    in_batches,
    records_to_compare,
    require_originals,
)
from aaa.evaluation.distances import frechet_distance, frechet_of_moments, jackknife_error, kernel_distance, moments
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable, require_held_out
from aaa.evaluation.reference import (
    DECODED,
    ORIGINAL,
    PROMPTS,
    Comparison,
    Statistics,
    kind_of,
    read_inception_statistics,
    require_reference,
    require_split,
)
from aaa.tracking.printed import command

logger = logging.getLogger(__name__)

LEAST = 3  # pictures: a distance takes two, and its standard error leaves some out
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


class ClipScore:
    """How well pictures fit their prompts, by CLIP (Hessel et al. 2021, arXiv 2104.08718): 100 times the cosine.

    Args:
        path: folder of a CLIP model in Hugging Face's layout, such as openai/clip-vit-base-patch16.
        num_images: to draw.
        split: of the prompts, `train` or `validation`; None: those that are held out, or trained on if none are.
        reference: what the score of the data is of: its pictures as the VAE decodes them (`decoded`, and so with
            None and with a file of statistics, which says nothing of CLIP) or as they are (`original`).

    Raises:
        UserError: if there is no such folder.
    """

    def __init__(
        self, path: str, num_images: int = 256, split: str | None = None, reference: str | None = None
    ) -> None:
        if not (Path(path) / "config.json").is_file():
            raise UserError(
                f"evaluation: ClipScore path={path}: no CLIP model there (looked for config.json in "
                f"{Path(path).absolute()}). To fetch one: "
                + command("hf", "download", "openai/clip-vit-base-patch16", "--local-dir", str(path))
            )
        self.path, self.num_images, self.split = path, num_images, require_split(split)
        self.reference = ORIGINAL if require_reference(reference) == ORIGINAL else DECODED

    def check(self, evaluated: EvaluatedModel) -> None:
        """Load the model, and look for records of the split and their pictures.

        Raises:
            NotApplicable: if there are no such records.
            UserError: if that cannot be.
        """
        require_held_out(evaluated, self.split, 1, "CLIP score")
        if not len(evaluated.records[split := self._split(evaluated)]):
            raise NotApplicable(f"There are no {PROMPTS[split]} prompts to draw for.")
        if self.reference == ORIGINAL:
            require_originals(evaluated, split)
        _ = self._loaded

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/clip_score`, and `quality/clip_score_real` of the data's own pictures of the same prompts.

        Of training prompts that were asked for they are `quality/clip_score-train` and so on, and the second ends in
        `-original` where it is of pictures as they are in the data set.
        """
        self.check(evaluated)
        model, processor = self._loaded
        split = self._split(evaluated)
        drawn = evaluated.draw_spread(split, self.num_images)
        real = drawn.records.tolist()
        device = evaluated.drawer.device
        model.to(device)

        @torch.no_grad()
        def score(images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
            inputs = processor(
                text=list(prompts), images=list(images), return_tensors="pt", padding=True, truncation=True
            )
            seen = model(**inputs.to(device))
            return 100 * F.cosine_similarity(seen.image_embeds, seen.text_embeds).clamp(min=0)

        def score_drawn(places: Sequence[int]) -> Tensor:
            return score([drawn.images[place] for place in places], [drawn.prompts[place] for place in places])

        def score_real(records: Sequence[int]) -> Tensor:
            return score(data_pictures(evaluated, records, self.reference), [evaluated.prompt(one) for one in records])

        kind = kind_of(self.split or "validation", usual="validation")
        metrics = {
            f"quality/clip_score{kind}": in_batches(evaluated, range(len(drawn.images)), score_drawn).mean().item(),
            f"quality/clip_score{kind}_real{kind_of(split, split, self.reference)}": (
                in_batches(evaluated, real, score_real).mean().item()
            ),
        }
        model.to("cpu")  # the memory is training's
        comparison = Comparison(split, self.reference, len(drawn.images), len(real))
        evaluated.tell(metrics, comparison)
        logger.info("CLIP score %.2f, of the data %.2f (%s)", *metrics.values(), comparison)
        return metrics

    def _split(self, evaluated: EvaluatedModel) -> Split:
        return self.split or ("validation" if len(evaluated.records["validation"]) else "train")

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The model, on the CPU, and what makes its inputs of pictures and texts."""
        from transformers import CLIPModel, CLIPProcessor

        try:
            processor = CLIPProcessor.from_pretrained(self.path, local_files_only=True)
            # Safetensors are not insisted on: published CLIP folders may lack them. Of a pickle only tensors are read.
            model, loaded = CLIPModel.from_pretrained(
                self.path, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
        except Exception as error:
            raise UserError(
                f"evaluation: ClipScore path={self.path}: transformers cannot load it ({reason(error)})."
            ) from error
        if missing := sorted(loaded["missing_keys"]):
            raise UserError(
                f"evaluation: ClipScore path={self.path}: its files have no {missing[0]}; they are not CLIP's."
            )
        return model.eval(), processor


class InceptionDistance:
    """Frechet and kernel inception distance (FID, KID) between drawn pictures and the data's.

    Args:
        weights: file of the inception network that torch-fidelity uses; None for its place in torch's hub cache.
        num_images: to draw, for prompts of records from all over the data.
        num_real: pictures of the data to compare with.
        split: whose prompts and pictures these are, `train` or `validation`; None: the training ones, of data that is
            never trained on those that are held out.
        reference: the data's pictures as the VAE decodes them (`decoded`, and so with None) or as they are
            (`original`); or a file of statistics, `mu` and `sigma` of published features, of which there is FID alone.

    Raises:
        UserError: if the weights are missing, or the statistics are not those of the network's features.
    """

    def __init__(
        self,
        weights: str | None = None,
        num_images: int = 2048,
        num_real: int = 10_000,
        split: str | None = None,
        reference: str | None = None,
    ) -> None:
        self.split, self.reference = require_split(split), require_reference(reference)
        self.statistics: Statistics | None = None
        if self.reference not in (DECODED, ORIGINAL):
            self.statistics = read_inception_statistics(self.reference)
        self.weights = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION if weights is None else Path(weights)
        if not self.weights.is_file():
            raise UserError(
                f"evaluation: InceptionDistance weights={self.weights}: there is no such file. It is {INCEPTION} of "
                "the releases of toshas/torch-fidelity on GitHub; put it there, or say where it is. (LatentDistance "
                "needs no weights.)"
            )
        self.num_images, self.num_real = num_images, num_real

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the pictures, and load what computes with them.

        Raises:
            NotApplicable: if there are too few.
            UserError: if torchmetrics is not installed, the weights are not those of the network, there are no
                original pictures, or too few are held out where those were asked for.
        """
        _ = self._network
        require_held_out(evaluated, self.split, LEAST, "FID")
        split = evaluated.split_to_judge(self.split)
        if (count := min(self.num_images, self.num_real, len(evaluated.records[split]))) < LEAST:
            raise NotApplicable(f"Of {count} pictures no distribution can be told; it takes {LEAST}.")
        if self.reference == ORIGINAL:
            require_originals(evaluated, split)

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/fid`, and `quality/kid` with its standard error for the choice of drawn pictures.

        What is compared otherwise has names of its own, so that no table has both in a column:
        `quality/fid-validation`, `quality/fid-original`, `quality/fid-validation-original`, and by a file of
        statistics its name with digits of its content, `quality/fid-coco_val-1a2b3c4d`.
        """
        self.check(evaluated)
        split = evaluated.split_to_judge(self.split)
        pictures = evaluated.draw_spread(split, self.num_images).images
        network = self._network.to(evaluated.drawer.device)

        @torch.no_grad()
        def look(some: Sequence[Image.Image]) -> Tensor:
            return by_size(some, lambda alike: network(as_bytes(alike).to(evaluated.drawer.device)))

        comparison = Comparison(split, self.reference, len(pictures), None)
        if self.statistics is not None:
            drawn = in_batches(evaluated, pictures, look)
            metrics = _distance_from(self.statistics, drawn, kind_of(split, "train", self.statistics.name))
        else:
            records = records_to_compare(evaluated, split, self.num_real, self.reference)
            comparison = replace(comparison, real=len(records))
            real = in_batches(evaluated, records, lambda some: look(data_pictures(evaluated, some, self.reference)))
            drawn = in_batches(evaluated, pictures, look)
            metrics = _distances(drawn, real, kind_of(split, "train", self.reference))
        network.to("cpu")  # the memory is training's
        fid, *kid = metrics.values()
        logger.info("FID %.2f (%s)%s", fid, comparison, ", KID {:.4f} +- {:.4f}".format(*kid) if kid else "")
        evaluated.tell(metrics, comparison)
        return metrics

    @cached_property
    def _network(self) -> nn.Module:
        """The inception network, on the CPU."""
        image = _torchmetrics_image()
        try:
            whole = image.FrechetInceptionDistance(
                feature_extractor_weights_path=str(self.weights),
                # Published figures are of pictures that were scaled as TensorFlow 1 did it.
                antialias=self.reference == DECODED,
            )
        except Exception as error:  # of many kinds: it is a pickle
            raise UserError(
                f"evaluation: InceptionDistance weights={self.weights}: not the weights of {INCEPTION} "
                f"({reason(error)}). Fetch them again."
            ) from error
        network: nn.Module = whole.inception
        return network


def _distances(drawn: Tensor, real: Tensor, kind: str) -> dict[str, float]:
    return {
        f"quality/fid{kind}": frechet_distance(drawn, real),
        f"quality/kid{kind}": kernel_distance(drawn, real),
        f"quality/kid{kind}_standard_error": jackknife_error(kernel_distance, drawn, real),
    }


def _distance_from(statistics: Statistics, drawn: Tensor, kind: str) -> dict[str, float]:
    published = (statistics.mean.to(drawn.device), statistics.covariance.to(drawn.device))
    return {f"quality/fid{kind}": frechet_of_moments(*moments(drawn), *published)}


def _torchmetrics_image() -> Any:
    try:
        import torch_fidelity  # noqa: F401 - which torchmetrics wants
        import torchmetrics.image
    except ImportError as error:
        raise UserError(f'evaluation: {error.name} is not installed: pip install -e ".[metrics]"') from None
    return torchmetrics.image
