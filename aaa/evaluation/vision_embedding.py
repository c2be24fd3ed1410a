"""A vector of each picture by any vision model of transformers on disk: DINOv2's class token, CLIP's embedding."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from aaa.encoders.vision_input import read_vision_input
from aaa.encoders.vision_weights import load_vision_model, read_vision_config
from aaa.errors import UserError, reason
from aaa.evaluation.batched_features import as_bytes, by_size
from aaa.tracking.printed import command

CLIP = "clip_vision_model"


class VisionEmbedding:
    """What transformers calls the model's pooled output: of DINOv2 the class token behind the last norm.

    Of a model in CLIP's layout it is the image embedding, projected to where texts are. Neither is brought to length 1.

    A whole picture is scaled to the model's square, bicubic with antialiasing and without rounding to bytes, as EDM2
    does it; side, mean and standard deviation are those of preprocessor_config.json. (`PooledVision`, which likenesses
    are found by, differs on purpose: it cuts pictures as the model's own processor does, and does not project CLIP's.)

    Args:
        key: that names the folder, for messages.
        path: the folder: config.json, preprocessor_config.json and weights. They are read where they are first needed.
        usual: a model on a hub to fetch, for messages.

    Attributes:
        width: how many features there are.
        size: height and width of the pictures that the model takes.

    Raises:
        UserError: if there is no vision model, or its files do not say what it takes and gives.
    """

    def __init__(self, key: str, path: str, usual: str) -> None:
        self.key, self.path = key, Path(path)
        if not (self.path / "config.json").is_file():
            raise UserError(
                f"{key}={path}: no vision model there (looked for config.json in {self.path.absolute()}). To fetch "
                "one: " + command("hf", "download", usual, "--local-dir", str(path))
            )
        self._config = read_vision_config(key, self.path)
        if self._config.model_type == CLIP:
            self._config.projection_dim = self._whole_config().projection_dim
        self._takes = read_vision_input(key, self.path)
        self.width, self.size = self._width(), (self._takes.height, self._takes.width)

    @property
    def name(self) -> str:
        """The folder's name without what is neither a letter nor a digit: a metric's detail begins with _ after it."""
        return re.sub(r"[^A-Za-z0-9]+", "", self.path.resolve().name).lower() or "vision"

    def has(self, said: Mapping[str, Any], side: int) -> bool:
        """Whether its config says all this, and it takes squares of this side."""
        return self.size == (side, side) and all(getattr(self._config, key, None) == said[key] for key in said)

    def to(self, device: torch.device | str) -> None:
        """Look at pictures on this device from now on."""
        self.model.to(device)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        """`N width` float32 of pictures in RGB, of any sizes.

        Raises:
            UserError: if the model pools to something else.
        """
        return by_size(pictures, lambda alike: self._look(as_bytes(alike)))

    def _look(self, pictures: Tensor) -> Tensor:
        parameter = next(self.model.parameters())
        pixels = F.interpolate(pictures.to(parameter.device).float(), self.size, mode="bicubic", antialias=True)
        mean, deviation = self._takes.mean.to(pixels), self._takes.deviation.to(pixels)
        normalised = (pixels * self._takes.scale - mean) / deviation
        seen = self.model(pixel_values=normalised)
        pooled = seen.get("image_embeds") if self._config.model_type == CLIP else seen.get("pooler_output")
        if pooled is None or pooled.flatten(1).shape[1] != self.width:
            raise UserError(f"{self.key}={self.path}: it does not pool what it sees to {self.width} numbers.")
        return pooled.flatten(1).float()

    @cached_property
    def model(self) -> Any:
        """In float32, loaded to the CPU.

        Raises:
            UserError: if transformers cannot load it, or weights are missing.
        """
        if self._config.model_type == CLIP:
            return self._projecting_model()
        model = load_vision_model(self.key, self.path, self._config, pooling=True)
        if model.main_input_name != "pixel_values":
            raise UserError(f"{self.key}={self.path}: {type(model).__name__} sees no pictures.")
        return model

    def _projecting_model(self) -> Any:
        from transformers import CLIPVisionModelWithProjection
        from transformers.utils import logging as transformers_logging

        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()  # the half that reads texts is not wanted
        try:
            # Safetensors are not insisted on: published CLIP folders may lack them. Of a pickle only tensors are read.
            model, loaded = CLIPVisionModelWithProjection.from_pretrained(
                self.path,
                config=self._config,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:
            raise UserError(f"{self.key}={self.path}: transformers cannot load it ({reason(error)}).") from error
        finally:
            transformers_logging.set_verbosity(verbosity)
        if missing := sorted(loaded["missing_keys"]):
            raise UserError(f"{self.key}={self.path}: its files have no {missing[0]}; they are not CLIP's.")
        return model.eval()

    def _whole_config(self) -> Any:
        """Of both halves, if the folder has both: theirs is the width that they project to."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.path, local_files_only=True)

    def _width(self) -> int:
        names = ("projection_dim",) if self._config.model_type == CLIP else ("hidden_size", "hidden_sizes")
        for said in filter(None, (getattr(self._config, name, None) for name in names)):
            return int(said if isinstance(said, int) else said[-1])
        raise UserError(
            f"{self.key}={self.path}: {self._config.model_type} is no vision model whose config says how many features "
            "it gives of a picture (hidden_size)."
        )
