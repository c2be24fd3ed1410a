"""TAEF2 as a VAE: FLUX.2's packing of latents, and statistics from the data."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from aaa.encoders.statistics import LatentStatistics
from aaa.encoders.tiny_autoencoder import make_decoder, make_encoder, pack, unpack
from aaa.errors import UserError
from aaa.tracking.printed import command

REPOSITORY = "madebyollin/taef2"


class Flux2TinyVAE:
    """TAEF2: latents like those of FLUX.2's VAE from a model of 5 MB, fifteen times as fast on a CPU.

    Raw latents of 32 channels at an eighth of the resolution are packed into 128 channels at a sixteenth, as FLUX.2
    does, and then normalised by `statistics`.

    Args:
        path: folder with encoder.safetensors and decoder.safetensors (or taef2_encoder..., as they are published).
        dtype: of weights and arithmetic.
        latent_mean, latent_std: statistics to normalise by, one number a channel. Without them they are taken from
            the data when the latent cache is built, and go with the model.
    """

    latent_channels = 128
    downscale_factor = 16

    def __init__(
        self,
        path: str,
        dtype: str = "bfloat16",
        latent_mean: Sequence[float] | None = None,
        latent_std: Sequence[float] | None = None,
    ) -> None:
        self.path = Path(path)
        self.dtype = getattr(torch, dtype)
        self.device = "cpu"
        self.statistics: LatentStatistics | None = None
        if (latent_mean is None) != (latent_std is None):
            raise UserError("encoder.vae.latent_mean, latent_std: give both, or neither to take them from the data.")
        if latent_mean is not None and latent_std is not None:
            if not len(latent_mean) == len(latent_std) == self.latent_channels:
                raise UserError(
                    f"encoder.vae.latent_mean, latent_std: need one number for each of {self.latent_channels} channels."
                )
            self.statistics = LatentStatistics(tuple(latent_mean), tuple(latent_std))

    @property
    def weight_files(self) -> Sequence[Path]:
        """Encoder and decoder."""
        return [self._file("encoder"), self._file("decoder")]

    def fetch_files(self) -> None:
        """Nothing: the folder is the user's own."""

    def missing_files(self) -> str | None:
        """What is missing and how to get it, or None."""
        missing = [file for file in self.weight_files if not file.is_file()]
        if not missing:
            return None
        return "\n    ".join(
            [
                f"TAEF2 (encoder.vae.path={self.path}):",
                *(f"{file} (looked in {file.parent.absolute()})" for file in missing),
                command("hf", "download", REPOSITORY, "--local-dir", str(self.path)),
            ]
        )

    def to(self, device: str) -> None:
        """Encode and decode on this device."""
        self.device = device

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images in -1..1, `B 3 H W`, to latents, `B 128 H/16 W/16` float32."""
        images = images.to(self.device, self.dtype, memory_format=torch.channels_last)
        latents = pack(self._encoder((images + 1) / 2)).float()
        return latents if self.statistics is None else self.statistics.normalise(latents)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents, `B 128 h w`, to images in about -1..1, `B 3 16h 16w`."""
        latents = latents.to(self.device, torch.float32)
        if self.statistics is not None:
            latents = self.statistics.denormalise(latents)
        latents = unpack(latents).to(self.dtype, memory_format=torch.channels_last)
        return self._decoder(latents) * 2 - 1

    @cached_property
    def _encoder(self) -> nn.Module:
        return self._load(make_encoder(), self._file("encoder"))

    @cached_property
    def _decoder(self) -> nn.Module:
        return self._load(make_decoder(), self._file("decoder"))

    def _file(self, name: str) -> Path:
        published = self.path / f"taef2_{name}.safetensors"
        return published if published.is_file() else self.path / f"{name}.safetensors"

    def _load(self, module: nn.Module, file: Path) -> nn.Module:
        try:
            module.load_state_dict(load_file(file))
        except FileNotFoundError:
            raise UserError(f"Weights are missing:\n  {self.missing_files()}") from None
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: not a whole safetensors file ({error}). Fetch it again.") from None
        except RuntimeError as error:
            raise UserError(f"{file}: not TAEF2's weights ({str(error).splitlines()[1].strip()}).") from None
        return module.to(self.device, self.dtype).to(memory_format=torch.channels_last).eval()
