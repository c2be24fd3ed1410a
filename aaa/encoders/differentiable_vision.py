"""A frozen vision transformer of transformers that a loss looks through (`objective.terms.perceptual.target=vision`).

It sees what vision.py's does, whose features are computed once without gradients, and kept. Here gradients flow through
it to the pictures at each step.
"""

from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from aaa.encoders.vision_input import VisionInput, read_vision_input
from aaa.encoders.vision_weights import load_vision_model, read_vision_config
from aaa.errors import UserError

KEY = "objective.terms.perceptual.vision.path"


class DifferentiableVision:
    """Any that vision_weights.py loads, in float32; nothing is read before it is asked for.

    Args:
        path: the folder: config.json, preprocessor_config.json and *.safetensors.
    """

    def __init__(self, path: str | None) -> None:
        self.path = Path(path or "")
        self._device = torch.device("cpu")

    def features(self, images: Tensor) -> Tensor:
        """The patch tokens of its last layer.

        The whole picture is resized to the square that the model takes, and normalised as its own preprocessing does.
        What is beyond -1..1 stays so, as no gradient would bring it back.

        Args:
            images: in about -1..1, `B 3 H W`; the model is moved to their device.

        Returns:
            `B D h w` float32, differentiable by the images alone.

        Raises:
            UserError: if the model cannot be loaded, or gives no token for each patch.
        """
        pixels = (images.float() + 1) / 2
        if images.shape[-2:] != (self._side, self._side):
            pixels = F.interpolate(pixels, size=(self._side, self._side), mode="bilinear", antialias=True)
        model, mean, deviation = self._on(images.device)
        with torch.autocast(images.device.type, enabled=False):
            tokens = model(pixel_values=(pixels - mean) / deviation).last_hidden_state  # B T D
        across = self._side // self._config.patch_size
        if tokens.ndim != 3 or tokens.shape[1] < across**2:
            raise UserError(
                f"{KEY}={self.path}: of {across} x {across} patches {type(model).__name__} gives "
                f"{' x '.join(map(str, tokens.shape[1:]))} numbers; it must give a token for each."
            )
        # What is not of a patch comes first: the class, registers.
        return rearrange(tokens[:, -(across**2) :], "b (h w) d -> b d h w", h=across)

    def flops(self) -> int:
        """Floating-point operations of a forward pass for one picture, counted by torch without weights."""
        return self._flops

    @cached_property
    def _flops(self) -> int:
        from torch.utils.flop_counter import FlopCounterMode
        from transformers import AutoModel

        with torch.device("meta"):
            model = AutoModel.from_config(deepcopy(self._config), attn_implementation="eager").eval()
            picture = torch.empty(1, 3, self._side, self._side)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                model(pixel_values=picture)
        return int(counter.get_total_flops())

    @cached_property
    def _takes(self) -> VisionInput:
        return read_vision_input(KEY, self.path)

    @property
    def _side(self) -> int:
        return self._takes.height

    @cached_property
    def _config(self) -> Any:
        config = read_vision_config(KEY, self.path)
        said = config.to_dict()
        if not all(isinstance(said.get(name), int) for name in ("hidden_size", "patch_size")):
            raise UserError(
                f"{KEY}={self.path}: {config.model_type} is no vision transformer, which has square patches."
            )
        return config

    @cached_property
    def _loaded(self) -> tuple[Any, Tensor, Tensor]:
        """The model, and mean and deviation of pictures, `3 1 1`."""
        model = load_vision_model(KEY, self.path, self._config, pooling=False)
        return model.requires_grad_(requires_grad=False), self._takes.mean, self._takes.deviation

    def _on(self, device: torch.device) -> tuple[Any, Tensor, Tensor]:
        """The same on a device; copied there once, as a GPU would be waited for at each step."""
        if self._device != device:
            model, *tensors = self._loaded
            mean, deviation = (tensor.to(device) for tensor in tensors)
            self._device, self._loaded = device, (model.to(device), mean, deviation)
        return self._loaded
