"""Any local vision transformer of transformers (DINOv2, SigLIP, ViT, CLIP): what it sees at each place of a picture.

Models hidden states are aligned to (`objective.terms.align.target=vision`), as REPA (Yu et al. 2025, arXiv 2410.06940,
section 3.2) aligns to the patch tokens of DINOv2's last layer.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from aaa.encoders.vision_weights import load_image_processor, load_vision_model, read_vision_config
from aaa.errors import UserError

KEY = "objective.terms.align.vision.path"
SUFFIXES = frozenset({".json", ".safetensors"})


class VisionModel:
    """Any that vision_weights.py loads; nothing is read before it is asked for.

    Args:
        path: the folder: config.json, preprocessor_config.json and *.safetensors. Of a model of pictures and texts,
            such as CLIP, the half that sees pictures is taken.
    """

    def __init__(self, path: str | None) -> None:
        self.path = Path(path or "")
        self._device = torch.device("cpu")

    @property
    def files(self) -> Sequence[Path]:
        """Weights and configs: everything that makes the features."""
        return sorted(file for file in self.path.iterdir() if file.suffix in SUFFIXES)

    @property
    def channels(self) -> int:
        """Width of its tokens.

        Raises:
            UserError: if the folder has no vision transformer.
        """
        return int(self._config.hidden_size)

    @torch.no_grad()
    def compute(self, images: Tensor, side: int) -> Tensor:
        """The patch tokens of its last layer, resampled to the grid of the latents.

        The whole picture is resized to the square that the model takes, not cut as its own preprocessing may, so that
        each token is of the place that it is laid over.

        Args:
            images: in -1..1, `B 3 H W`; the model is moved to their device.
            side: of a latent in pixels.

        Returns:
            `B channels H/side W/side` float32.

        Raises:
            UserError: if the model cannot be loaded, or gives no token for each patch.
        """
        pixels = (images.float().clamp(-1, 1) + 1) / 2
        size = {"height": self._side, "width": self._side}
        settings = {"do_rescale": False, "do_center_crop": False, "size": size, "return_tensors": "pt"}
        prepared = self._processor(images=list(pixels), **settings)["pixel_values"].to(images.device)
        tokens = self._model_on(images.device)(pixel_values=prepared).last_hidden_state.float()  # B T D
        across = self._side // self._config.patch_size
        if tokens.ndim != 3 or tokens.shape[1] < across**2:
            raise UserError(
                f"{KEY}={self.path}: of {across} x {across} patches {type(self._model).__name__} gives "
                f"{' x '.join(map(str, tokens.shape[1:]))} numbers; it must give a token for each."
            )
        # What is not of a patch comes first: the class, registers.
        grid = rearrange(tokens[:, -(across**2) :], "b (h w) d -> b d h w", h=across)
        height, width = (length // side for length in images.shape[-2:])
        return F.interpolate(grid, size=(height, width), mode="bilinear", antialias=True)

    def release(self) -> None:
        """Free the memory that it takes; it is loaded again where it is asked again."""
        self.__dict__.pop("_model", None)

    @cached_property
    def _side(self) -> int:
        """Pixels of the square that the model takes."""
        said = self._processor.to_dict()
        sizes = [said.get("crop_size") if said.get("do_center_crop") else None, said.get("size")]
        size = dict(next(filter(None, sizes), {}))
        side = size.get("height") or size.get("shortest_edge")
        if not side:
            raise UserError(f"{KEY}={self.path}: its preprocessor_config.json says no size of pictures.")
        return int(side)

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
    def _processor(self) -> Any:
        return load_image_processor(KEY, self.path)

    def _model_on(self, device: torch.device) -> Any:
        if self._device != device:
            self._device = device
            self._model.to(device)
        return self._model

    @cached_property
    def _model(self) -> Any:
        return load_vision_model(KEY, self.path, self._config, pooling=False).to(self._device)
