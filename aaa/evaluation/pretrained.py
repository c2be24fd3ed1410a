"""Scores that need somebody else's network: CLIP score, and Frechet and kernel inception distance.

CLIP runs in transformers, the inception network in torchmetrics (pip install -e ".[metrics]"). Their weights are never
downloaded behind one's back.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from aaa.data.records import Split
from aaa.errors import UserError, reason
from aaa.evaluation.distances import frechet_distance, jackknife_error, kernel_distance
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable
from aaa.tracking.printed import command

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_SIZE = 32
LEAST = 3  # pictures: a distance takes two, and its standard error leaves some out
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


class ClipScore:
    """How well pictures fit their prompts, by CLIP (Hessel et al. 2021, arXiv 2104.08718): 100 times the cosine.

    Args:
        path: folder of a CLIP model in Hugging Face's layout, such as openai/clip-vit-base-patch16.
        num_images: to draw, for prompts that are held out (or trained on, if none are).

    Raises:
        UserError: if there is no such folder.
    """

    def __init__(self, path: str, num_images: int = 256) -> None:
        if not (Path(path) / "config.json").is_file():
            raise UserError(
                f"evaluation: ClipScore path={path}: no CLIP model there (looked for config.json in "
                f"{Path(path).absolute()}). To fetch one: "
                + command("hf", "download", "openai/clip-vit-base-patch16", "--local-dir", str(path))
            )
        self.path, self.num_images = path, num_images

    def check(self, evaluated: EvaluatedModel) -> None:
        """Load the model.

        Raises:
            UserError: if that cannot be.
        """
        del evaluated
        _ = self._loaded

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/clip_score`, and `quality/clip_score_real` of the data's own pictures of the same prompts."""
        model, processor = self._loaded
        split: Split = "validation" if len(evaluated.records["validation"]) else "train"
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
            return score([evaluated.picture(one) for one in records], [evaluated.prompt(one) for one in records])

        metrics = {
            "quality/clip_score": _each(evaluated, range(len(drawn.images)), score_drawn).mean().item(),
            "quality/clip_score_real": _each(evaluated, real, score_real).mean().item(),
        }
        model.to("cpu")  # the memory is training's
        logger.info("CLIP score %.2f, of the data %.2f", *metrics.values())
        return metrics

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
        num_images: to draw, for prompts of training records from all over the data.
        num_real: training pictures to compare with.

    Raises:
        UserError: if the weights are missing.
    """

    def __init__(self, weights: str | None = None, num_images: int = 2048, num_real: int = 10_000) -> None:
        self.weights = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION if weights is None else Path(weights)
        if not self.weights.is_file():
            raise UserError(
                f"evaluation: InceptionDistance weights={self.weights}: there is no such file. It is {INCEPTION} of "
                "the releases of toshas/torch-fidelity on GitHub; put it there, or say where it is. (LatentDistance "
                "needs no weights.)"
            )
        self.num_images, self.num_real = num_images, num_real

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the training pictures, and load what computes with them.

        Raises:
            NotApplicable: if there are too few.
            UserError: if torchmetrics is not installed, or the weights are not those of the network.
        """
        _ = self._network
        if (count := min(self.num_images, self.num_real, len(evaluated.records["train"]))) < LEAST:
            raise NotApplicable(f"Of {count} pictures no distribution can be told; it takes {LEAST}.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/fid`, and `quality/kid` with its standard error for the choice of drawn pictures."""
        self.check(evaluated)
        pictures = evaluated.draw_spread("train", self.num_images).images
        records = evaluated.real("train", self.num_real).records.tolist()
        device = evaluated.drawer.device
        network = self._network.to(device)

        @torch.no_grad()
        def look(some: Sequence[Image.Image]) -> Tensor:
            return _by_size(some, lambda alike: network(_bytes(alike).to(device)))

        real = _each(evaluated, records, lambda some: look([evaluated.picture(one) for one in some]))
        drawn = _each(evaluated, pictures, look)
        network.to("cpu")  # the memory is training's
        metrics = {
            "quality/fid": frechet_distance(drawn, real),
            "quality/kid": kernel_distance(drawn, real),
            "quality/kid_standard_error": jackknife_error(kernel_distance, drawn, real),
        }
        logger.info("FID %.2f, KID %.4f +- %.4f", *metrics.values())
        return metrics

    @cached_property
    def _network(self) -> nn.Module:
        """The inception network, on the CPU."""
        image = _torchmetrics_image()
        try:
            whole = image.FrechetInceptionDistance(feature_extractor_weights_path=str(self.weights))
        except Exception as error:  # of many kinds: it is a pickle
            raise UserError(
                f"evaluation: InceptionDistance weights={self.weights}: not the weights of {INCEPTION} "
                f"({reason(error)}). Fetch them again."
            ) from error
        network: nn.Module = whole.inception
        return network


def _by_size(pictures: Sequence[Image.Image], look: Callable[[Sequence[Image.Image]], Tensor]) -> Tensor:
    """What a network says of each, `N ...`: those of one size together, as it brings whole batches to its own size."""
    found: dict[int, Tensor] = {}
    for size in dict.fromkeys(picture.size for picture in pictures):
        places = [place for place, picture in enumerate(pictures) if picture.size == size]
        found |= zip(places, look([pictures[place] for place in places]), strict=True)
    return torch.stack([found[place] for place in range(len(pictures))])


def _each(evaluated: EvaluatedModel, items: Sequence[T], look: Callable[[Sequence[T]], Tensor]) -> Tensor:
    """What a network says of each, `N ...`; which are in a batch together is the same for any number of processes."""
    batches = [items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE)]
    found = evaluated.each(batches, lambda some: [look(batch).cpu() for batch in some], 1)
    return torch.cat(found).to(evaluated.drawer.device)


def _torchmetrics_image() -> Any:
    try:
        import torch_fidelity  # noqa: F401 - which torchmetrics wants
        import torchmetrics.image
    except ImportError as error:
        raise UserError(f'evaluation: {error.name} is not installed: pip install -e ".[metrics]"') from None
    return torchmetrics.image


def _bytes(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as `B 3 H W` of bytes."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
