"""How far drawn pictures are from real ones in the features of a vision model on disk: FD-DINOv2, CMMD.

They are newer than FID, and agree better with what people see: the inception network's features are of ImageNet's
classes alone. As FID's, their weights are never downloaded behind one's back.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from aaa.data.pictures import cut_centre
from aaa.data.records import Split
from aaa.errors import UserError, require_number
from aaa.evaluation.batched_features import data_pictures, in_batches, records_to_compare, require_originals
from aaa.evaluation.distances import (
    frechet_distance,
    frechet_of_moments,
    gaussian_kernel_distance,
    jackknife_error,
    kernel_distance,
    moments,
)
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable, require_held_out
from aaa.evaluation.reference import (
    DECODED,
    NPY,
    NPZ,
    ORIGINAL,
    Comparison,
    Statistics,
    Vectors,
    kind_of,
    read_statistics,
    read_vectors,
    require_reference,
    require_split,
)
from aaa.evaluation.vision_embedding import CLIP, VisionEmbedding

logger = logging.getLogger(__name__)

File = TypeVar("File", Statistics, Vectors)

LEAST = 3  # pictures: a distance takes two, and its standard error leaves some out
SIGMA, SCALE = 10.0, 1000.0  # of CMMD: the kernel's width, and what makes its values easy to read


class Published(NamedTuple):
    """A model that published figures are of.

    Attributes:
        repository: that has it, on a hub.
        config: what its config says of the half that sees pictures.
        side: of the pictures that it takes, in pixels.
        name: of distances in its features, in metrics.
    """

    repository: str
    config: Mapping[str, Any]
    side: int
    name: str


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14}
DINOV2 = Published("facebook/dinov2-large", {"model_type": "dinov2"} | LARGE, 224, "dinov2")
OPENAI_CLIP = Published(
    "openai/clip-vit-large-patch14-336",
    {"model_type": CLIP, "projection_dim": 768, "hidden_act": "quick_gelu"} | LARGE,
    336,
    "cmmd",
)


class _VisionDistance(Generic[File]):
    """What both have in common: which pictures are compared, and what the model sees in them.

    Args:
        path: folder of a vision model in Hugging Face's layout.
        num_images: to draw, for prompts of records from all over the data.
        num_real: pictures of the data to compare with, at most.
        split: whose prompts and pictures these are, `train` or `validation`; None: the training ones, of data that is
            never trained on those that are held out.
        reference: the data's pictures as the VAE decodes them (`decoded`, and so with None) or as they are
            (`original`); or a file of features of others.

    Raises:
        UserError: if there is no such model, or the file is not of its features.
    """

    usual: ClassVar[Published]
    ending: ClassVar[str]  # of files that it compares with
    read: Callable[[str, int, str], File]

    def __init__(
        self,
        path: str,
        num_images: int = 2048,
        num_real: int = 10_000,
        split: str | None = None,
        reference: str | None = None,
    ) -> None:
        for name, value in (("num_images", num_images), ("num_real", num_real)):
            require_number(f"evaluation: {type(self).__name__} {name}", value, least=LEAST)
        self.num_images, self.num_real = num_images, num_real
        if Path(str(reference)).suffix in {NPZ, NPY} - {self.ending}:
            raise UserError(
                f"evaluation.reference={reference}: {type(self).__name__} compares with a file that ends in "
                f"{self.ending}. Each part can have its own: evaluation.parts.NAME.reference=FILE{self.ending}"
            )
        self.split, self.reference = require_split(split), require_reference(reference, self.ending)
        self.features = VisionEmbedding(f"evaluation: {type(self).__name__} path", path, self.usual.repository)
        self.has_usual = self.features.has(self.usual.config, self.usual.side)
        self.file: File | None = None
        if self.reference not in (DECODED, ORIGINAL):
            self.file = self.read(self.reference, self.features.width, f"{path}")

    def kind_of(self, split: Split) -> str:
        """What names of metrics end in."""
        return kind_of(split, "train", self.reference if self.file is None else self.file.name)

    def check(self, evaluated: EvaluatedModel) -> None:
        """Count the pictures, and load what computes with them.

        Raises:
            NotApplicable: if there are too few.
            UserError: if the model cannot be loaded, there are no original pictures, or too few are held out where
                those were asked for.
        """
        _ = self.features.model
        require_held_out(evaluated, self.split, LEAST, "a distance in features")
        split = evaluated.split_to_judge(self.split)
        if (count := len(evaluated.records[split])) < LEAST:
            raise NotApplicable(f"Of {count} pictures no distribution can be told; it takes {LEAST}.")
        if self.reference == ORIGINAL:
            require_originals(evaluated, split)

    def _seen(self, evaluated: EvaluatedModel, split: Split) -> tuple[Tensor, Tensor | None, Comparison]:
        """Features of drawn pictures, `N D`, and of the data's, `M D`, unless a file is in their place."""
        pictures = evaluated.draw_spread(split, self.num_images).images
        comparison = Comparison(split, self.reference, len(pictures), None)
        self.features.to(evaluated.drawer.device)
        real = None
        if self.file is None:
            records = records_to_compare(evaluated, split, self.num_real, self.reference)
            comparison = replace(comparison, real=len(records))
            real = in_batches(
                evaluated, records, lambda some: self._look(data_pictures(evaluated, some, self.reference))
            )
        drawn = in_batches(evaluated, pictures, self._look)
        self.features.to("cpu")  # the memory is training's
        return drawn, real, comparison

    def _look(self, pictures: Sequence[Image.Image]) -> Tensor:
        return self.features(pictures)


class VisionFrechetDistance(_VisionDistance[Statistics]):
    """Frechet and kernel distance in a vision model's features: FD-DINOv2 (Stein et al. 2023, arXiv 2306.04675).

    They are FID and KID with another network in the inception network's place. The published figures, EDM2's among
    them, are of DINOv2 ViT-L/14 and of 50,000 pictures.

    Args:
        path, num_images, num_real, split: as above.
        reference: as above; a file has `mu` and `sigma` of features, FILE.npz, by which there is no kernel distance.
    """

    usual, ending = DINOV2, NPZ
    read = staticmethod(read_statistics)

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/fd_dinov2`, and `quality/kd_dinov2` with its standard error for the choice of drawn pictures.

        Of another model than the published figures' its folder's name is in the place of dinov2. Endings are as
        FID's: `quality/fd_dinov2-validation-original`, `quality/fd_dinov2-imagenet-1a2b3c4d`.
        """
        self.check(evaluated)
        split = evaluated.split_to_judge(self.split)
        drawn, real, comparison = self._seen(evaluated, split)
        ending = f"{self._model()}{self.kind_of(split)}"
        frechet, kernel = f"quality/fd_{ending}", f"quality/kd_{ending}"
        if real is None and self.file is not None:
            published = (self.file.mean.to(drawn.device), self.file.covariance.to(drawn.device))
            metrics = {frechet: frechet_of_moments(*moments(drawn), *published)}
        else:
            assert real is not None
            metrics = {
                frechet: frechet_distance(drawn, real),
                kernel: kernel_distance(drawn, real),
                f"{kernel}_standard_error": jackknife_error(kernel_distance, drawn, real),
            }
        distance, *of_kernel = metrics.values()
        told = ", kd_{} {:.4f} +- {:.4f}".format(ending, *of_kernel) if of_kernel else ""
        logger.info("fd_%s %.2f (%s)%s", ending, distance, comparison, told)
        if (fewest := min(comparison.drawn, comparison.real or comparison.drawn)) <= self.features.width:
            logger.info(
                "fd_%s: %s pictures cannot fill a covariance of %s features. It falls with their number: only compare "
                "distances of equally many.",
                *(ending, f"{fewest:,}", f"{self.features.width:,}"),
            )
        evaluated.tell(metrics, comparison)
        return metrics

    def _model(self) -> str:
        """What metrics call it: another than the usual one by its folder, and by its width too if that is so called."""
        usual, own = self.usual.name, self.features.name
        return usual if self.has_usual else own if own != usual else f"{own}width{self.features.width}"


class VisionMeanDiscrepancy(_VisionDistance[Vectors]):
    """Maximum mean discrepancy in a vision model's features: CMMD (Jayasumana et al. 2024, arXiv 2401.09603).

    Of features of length 1, by a Gaussian kernel of width 10, times 1000, unbiased: its expectation does not depend on
    how many pictures there are. The published figures are of CLIP ViT-L/14 at 336 pixels, and of 30,000 pictures.

    Args:
        path, num_images, num_real, split: as above.
        reference: as above; a file has the features themselves, `N D` in FILE.npy.
    """

    usual, ending = OPENAI_CLIP, NPY
    read = staticmethod(read_vectors)

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/cmmd` with its standard error for the choice of drawn pictures.

        Of another model than the published figures' it is `quality/mmd_` and its folder's name. Endings are as FID's.
        """
        self.check(evaluated)
        split = evaluated.split_to_judge(self.split)
        drawn, real, comparison = self._seen(evaluated, split)
        if self.file is not None:
            real = F.normalize(self.file.features.to(drawn.device), dim=1)
        assert real is not None
        name = f"{self.usual.name if self.has_usual else f'mmd_{self.features.name}'}{self.kind_of(split)}"
        metrics = {
            f"quality/{name}": discrepancy(drawn, real),
            f"quality/{name}_standard_error": jackknife_error(discrepancy, drawn, real),
        }
        logger.info("%s %.3f +- %.3f (%s)", name, *metrics.values(), comparison)
        evaluated.tell(metrics, comparison)
        return metrics

    def _look(self, pictures: Sequence[Image.Image]) -> Tensor:
        # Published ones are of the middle square.
        squares = [cut_centre(picture, min(picture.size), min(picture.size)) for picture in pictures]
        return F.normalize(self.features(squares), dim=1)


def discrepancy(drawn: Tensor, real: Tensor) -> float:
    """CMMD of features of length 1, `N D` and `M D`."""
    return SCALE * gaussian_kernel_distance(drawn, real, SIGMA)
