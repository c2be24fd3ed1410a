"""FLUX.2's VAE as DiffSynth loads it: 128 channels at a sixteenth of the resolution."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.encoders.statistics import EPSILON, LatentStatistics
from aaa.encoders.weights import ModelFiles
from aaa.errors import UserError


class Flux2Encoder:
    """The VAE of FLUX.2, loaded through DiffSynth's model pool at its first use.

    Args:
        model_id: the repository on ModelScope and Hugging Face.
        file: the weights inside it.
        dtype: of the VAE's weights and arithmetic.
    """

    latent_channels = 128
    downscale_factor = 16

    def __init__(self, model_id: str, file: str, dtype: str = "bfloat16") -> None:
        self.files = ModelFiles(model_id, (file,))
        self.dtype = getattr(torch, dtype)
        self.device = "cpu"

    @property
    def weight_files(self) -> Sequence[Path]:
        """The file of weights."""
        return self.files.paths

    def fetch_files(self) -> None:
        """Download what is missing, if that is possible."""
        self.files.fetch()

    def missing_files(self) -> str | None:
        """What is missing and how to get it, or None."""
        return self.files.missing()

    def to(self, device: str) -> None:
        """Encode and decode on this device."""
        self.device = device

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images in -1..1, `B 3 H W`, to normalised latents, `B 128 H/16 W/16`."""
        return self._vae.encode(images.to(self.device, self.dtype))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents, `B 128 h w`, to images in -1..1, `B 3 16h 16w`."""
        return self._vae.decode(latents.to(self.device, self.dtype))

    def latent_statistics(self) -> LatentStatistics:
        """What its latents are normalised by, which its file holds.

        Raises:
            UserError: if the file is damaged or another model's.
        """
        file = self.files.paths[0]
        try:
            with safe_open(file, "pt") as tensors:
                mean, variance = (tensors.get_tensor(f"bn.running_{name}").float() for name in ("mean", "var"))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: not the whole weights of FLUX.2's VAE ({error}).") from None
        return LatentStatistics(tuple(mean.tolist()), tuple((variance + EPSILON).sqrt().tolist()))

    @cached_property
    def _vae(self) -> Any:
        return self.files.load("flux2_vae", self.dtype, self.device)
