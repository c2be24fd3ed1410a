"""What pixels a vision model of transformers takes, as its preprocessor_config.json says it.

`VisionModel` in vision.py reads the same by code of its own, and has to: its bytes are the version of the features that
are kept beside latents, which everybody would compute anew.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.encoders.vision_weights import load_image_processor
from aaa.errors import UserError

BYTE = 1 / 255  # what a level of 0..255 is multiplied with, unless said


class VisionInput(NamedTuple):
    """Pixels as the model was trained with them.

    Attributes:
        height, width: of the pictures that it takes.
        scale: what levels of 0..255 are multiplied with, before the mean is taken off.
        mean, deviation: of each colour, `3 1 1` float32.
    """

    height: int
    width: int
    scale: float
    mean: Tensor
    deviation: Tensor


def read_vision_input(key: str, path: Path) -> VisionInput:
    """What the model of a folder takes.

    Args:
        key: of our config that names the folder, for errors.
        path: the folder.

    Raises:
        UserError: if there is no preprocessor_config.json, or it says no size or normalisation.
    """
    said = load_image_processor(key, path).to_dict()
    sizes = [said.get("crop_size") if said.get("do_center_crop") else None, said.get("size")]
    size = dict(next(filter(None, sizes), {}))
    height = size.get("height") or size.get("shortest_edge")
    if not height:
        raise UserError(f"{key}={path}: its preprocessor_config.json says no size of pictures.")
    mean, deviation = [0.0] * 3, [1.0] * 3
    if said.get("do_normalize", True):
        mean, deviation = said.get("image_mean"), said.get("image_std")
        if not all(isinstance(values, list | tuple) and len(values) == 3 for values in (mean, deviation)):
            raise UserError(f"{key}={path}: its preprocessor_config.json says no image_mean and image_std of RGB.")
    # Wherever it is asked: FLOPs are counted where new tensors hold no numbers.
    of_colours = [torch.tensor(values, dtype=torch.float32, device="cpu").view(3, 1, 1) for values in (mean, deviation)]
    scale = float(said.get("rescale_factor") or BYTE)
    return VisionInput(int(height), int(size.get("width") or height), scale, *of_colours)
