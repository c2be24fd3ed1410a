"""What pictures are compared by: vectors that are near where people see the same."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from aaa.encoders.vision_weights import load_image_processor, load_vision_model, read_vision_config
from aaa.errors import UserError

SIDE = 16  # pixels that a picture is scaled to
BLUR = 1.0  # standard deviation in those pixels
BATCH_SIZE = 64
KEY = "evaluation.vision_model"


class Features(Protocol):
    """Pictures to vectors, whose Euclidean distance counts."""

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        """`N D` float32 for N pictures in RGB."""
        ...


class BlurredLab:
    """Colours in CIELAB, in which equal steps look equally large, of a small and blurred copy of the picture.

    Nothing is learned and nothing downloaded. What is told apart and what is forgiven (shifts, noise, blur) has been
    measured on pictures of data=openmoji: docs/emoji.md.
    """

    def __init__(self) -> None:
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        self._to_lab = ImageCms.buildTransform(*profiles, "RGB", "LAB")

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        """`N 768`: lightness, green to red, and blue to yellow, each over 100."""
        return torch.cat([self._vectors(batch) for batch in _batches(pictures)])

    def _vectors(self, pictures: Sequence[Image.Image]) -> Tensor:
        small = [picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX) for picture in pictures]
        stored = np.stack([np.asarray(ImageCms.applyTransform(picture, self._to_lab)) for picture in small])
        lightness = stored[..., :1].astype(np.float32) * (100 / 255)
        opponents = stored[..., 1:].view(np.int8).astype(np.float32)
        lab = torch.from_numpy(np.concatenate([lightness, opponents], axis=-1)).permute(0, 3, 1, 2) / 100  # N 3 16 16
        size = 2 * round(3 * BLUR) + 1
        return gaussian_blur(lab, [size, size], [BLUR, BLUR]).flatten(1)


class PooledVision:
    """The pooled output of a vision model of transformers, at length 1: CLIP's, SigLIP's, DINO's.

    Args:
        path: the folder: config.json, preprocessor_config.json and *.safetensors.

    Raises:
        UserError: if it cannot be loaded, or pools nothing.
    """

    def __init__(self, path: str) -> None:
        folder, self.path, self.device = Path(path), path, torch.device("cpu")
        config = read_vision_config(KEY, folder)
        self._processor = load_image_processor(KEY, folder)
        self._model = load_vision_model(KEY, folder, config, pooling=True)

    def to(self, device: torch.device) -> None:
        """Look at pictures on this device from now on."""
        self.device = device
        self._model.to(device)

    @torch.no_grad()
    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        """`N D`, of length 1 each.

        Raises:
            UserError: if the model has no pooled output.
        """
        vectors = []
        for batch in _batches(pictures):
            inputs = self._processor(images=[picture.convert("RGB") for picture in batch], return_tensors="pt")
            pooled = self._model(**inputs.to(self.device)).get("pooler_output")
            if pooled is None:
                raise UserError(f"{KEY}={self.path}: it has no pooled output to compare pictures by.")
            vectors.append(F.normalize(pooled.flatten(1).float(), dim=1).cpu())
        return torch.cat(vectors)


def _batches(pictures: Iterable[Image.Image]) -> Iterator[list[Image.Image]]:
    remaining = iter(pictures)
    while batch := list(islice(remaining, BATCH_SIZE)):
        yield batch
