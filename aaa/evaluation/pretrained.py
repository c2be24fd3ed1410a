"""Scores that need somebody else's network: CLIP score, and Frechet and kernel inception distance.

CLIP runs in transformers, the inception network in torchmetrics (pip install -e ".[metrics]"). Their weights are never
downloaded behind one's back.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from aaa.data.records import Split
from aaa.errors import UserError
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable
from aaa.tracking.printed import command

logger = logging.getLogger(__name__)

BATCH_SIZE = 32
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

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/clip_score`, and `quality/clip_score_real` of the data's own pictures."""
        from transformers import CLIPModel, CLIPProcessor

        split: Split = "validation" if len(evaluated.records["validation"]) else "train"
        drawn = evaluated.draw(split, self.num_images)
        real = evaluated.real(split, self.num_images)
        own = [evaluated.picture(record) for record in real.records.tolist()]
        of_real = [evaluated.prompt(record) for record in real.records.tolist()]
        device = evaluated.drawer.device
        model, processor = CLIPModel.from_pretrained(self.path), CLIPProcessor.from_pretrained(self.path)
        model.to(device).eval()
        metrics = {}
        for name, images, prompts in (
            ("quality/clip_score", drawn.images, drawn.prompts),
            ("quality/clip_score_real", own, of_real),
        ):
            scores = []
            for start in range(0, len(images), BATCH_SIZE):
                rows = slice(start, start + BATCH_SIZE)
                inputs = processor(
                    text=list(prompts[rows]),
                    images=list(images[rows]),
                    return_tensors="pt",
                    padding=True,
                    truncation=True,
                )
                with torch.no_grad():
                    seen = model(**inputs.to(device))
                scores.append(100 * F.cosine_similarity(seen.image_embeds, seen.text_embeds).clamp(min=0))
            metrics[name] = torch.cat(scores).mean().item()
        logger.info("CLIP score %.2f, of the data %.2f", *metrics.values())
        return metrics


class InceptionDistance:
    """Frechet and kernel inception distance (FID, KID) between drawn pictures and the data's.

    Args:
        weights: file of the inception network that torch-fidelity uses; None for its place in torch's hub cache.
        num_images: to draw, for prompts of training records.
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
        """See to it that there are two pictures, and what computes with them.

        Raises:
            NotApplicable: if there is but one training picture.
            UserError: if torchmetrics is not installed.
        """
        _torchmetrics_image()
        if min(self.num_images, self.num_real, len(evaluated.records["train"])) < 2:
            raise NotApplicable("One picture has no distribution.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/fid`, and `quality/kid` with its standard deviation over subsets."""
        self.check(evaluated)
        image = _torchmetrics_image()
        drawn = evaluated.draw("train", self.num_images).images
        real = evaluated.real("train", self.num_real).records.tolist()
        fid = image.FrechetInceptionDistance(feature_extractor_weights_path=str(self.weights))
        fid = fid.to(evaluated.drawer.device)
        subset = min(len(drawn), len(real), 1000)
        kid = image.KernelInceptionDistance(feature=fid.inception, subset_size=subset).to(evaluated.drawer.device)
        for is_real, count in ((True, len(real)), (False, len(drawn))):
            for start in range(0, count, BATCH_SIZE):
                end = min(start + BATCH_SIZE, count)
                pictures = [evaluated.picture(record) for record in real[start:end]] if is_real else drawn[start:end]
                batch = _bytes(pictures).to(evaluated.drawer.device)
                fid.update(batch, real=is_real)
                kid.update(batch, real=is_real)
        mean, deviation = kid.compute()
        metrics = {"quality/fid": fid.compute().item(), "quality/kid": mean.item(), "quality/kid_std": deviation.item()}
        logger.info("FID %.2f, KID %.4f +- %.4f", *metrics.values())
        return metrics


def _torchmetrics_image() -> Any:
    try:
        import torch_fidelity  # noqa: F401 - which torchmetrics wants
        import torchmetrics.image
    except ImportError as error:
        raise UserError(f'evaluation: {error.name} is not installed: pip install -e ".[metrics]"') from None
    return torchmetrics.image


def _bytes(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures as `B 3 H W` of bytes, each as large as the first."""
    size = pictures[0].size
    arrays = [np.asarray(picture if picture.size == size else picture.resize(size)) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
