"""Any AutoencoderKL (Stable Diffusion 1 to 3, FLUX.1) or AutoencoderDC (DC-AE) that diffusers has saved."""

import logging
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.encoders.diffusers_config import CONFIG, WEIGHTS, describe, vae_folder
from aaa.encoders.statistics import LatentStatistics
from aaa.encoders.weights import ModelFiles
from aaa.errors import UserError, reason
from aaa.tracking.printed import command

logger = logging.getLogger(__name__)

PACKAGE = "diffusers"
DTYPES = ("float32", "bfloat16")  # in float16 the VAE of SDXL overflows


class DiffusersVAE:
    """A VAE loaded by diffusers at its first use, from safetensors and from local files only.

    Latents are the mean of the posterior (its mode, of AutoencoderDC all that there is), in squares of `patch_size` x
    `patch_size` that are folded into channels, and then normalised channel by channel by `statistics`. The one
    `scaling_factor` (and `shift_factor`) of a config.json is not used: it brings all channels together to variance 1
    over the data of whoever trained the VAE, and leaves single ones far from it. FLUX.2's VAE has statistics of its
    latents by channel in its file; these have none, so that they are taken from the data, as TAEF2's are.

    With a patch of 2 x 2 one token of a model covers as many latents as in DiT-XL/2 (Peebles and Xie 2023, arXiv
    2212.09748) and MicroDiT (arXiv 2407.15811).

    Args:
        path: folder with config.json and diffusion_pytorch_model.safetensors, or with a subfolder `vae` that has them.
        model_id: instead of it, a repository on ModelScope and Hugging Face.
        subfolder: where they are in either; None: where config.json is found.
        patch_size: latents of the side of a square that becomes one; None: 1.
        dtype: of weights and arithmetic: float32 or bfloat16.
        latent_mean, latent_std: statistics to normalise by, one number a channel of a folded latent. Without them they
            are taken from the data when the latent cache is built, and go with the model.

    Raises:
        UserError: if there is no config.json, it is of another class than these two, or a value is out of range.
    """

    def __init__(
        self,
        path: str | None = None,
        model_id: str | None = None,
        subfolder: str | None = None,
        patch_size: int | None = None,
        dtype: str = "bfloat16",
        latent_mean: Sequence[float] | None = None,
        latent_std: Sequence[float] | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise UserError(f"encoder.vae.dtype={dtype}: must be one of {', '.join(DTYPES)}.")
        described = describe(path, model_id, subfolder, patch_size)
        self.class_name = described.class_name
        self.latent_channels, self.downscale_factor = described.latent_channels, described.downscale_factor
        self.path, self.folder = path, vae_folder(path, model_id, subfolder)
        self.files: ModelFiles | None = None
        if model_id is not None:
            self.files = _files_of(model_id, self.folder)
        self.patch_size = patch_size or 1
        self.dtype = getattr(torch, dtype)
        self.device = "cpu"
        self.statistics = _given_statistics(latent_mean, latent_std, self.latent_channels)

    @property
    def weight_files(self) -> Sequence[Path]:
        """The file of weights, and the config that says what they are weights of."""
        return [self.folder / WEIGHTS, self.folder / CONFIG]

    def fetch_files(self) -> None:
        """Download what is missing of a repository, if that is possible; a folder is the user's own."""
        if self.files is not None and _is_installed():
            self.files.fetch()

    def missing_files(self) -> str | None:
        """What is missing and how to get it, or None."""
        if not _is_installed():
            return (
                f"encoder=diffusers: the package {PACKAGE} is not installed.\n    "
                f'pip install -e ".[{PACKAGE}]" -c constraints.txt'
            )
        if self.files is not None:
            return self.files.missing()
        if (self.folder / WEIGHTS).is_file():
            return None
        return (
            f"encoder.vae.path={self.path}: has no {WEIGHTS} (looked in {self.folder.absolute()}).\n    "
            f"{command('hf', 'download', 'OWNER/NAME', CONFIG, WEIGHTS, '--local-dir', str(self.folder))}"
        )

    def to(self, device: str) -> None:
        """Encode and decode on this device."""
        self.device = device

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images in -1..1, `B 3 H W`, to latents, `B latent_channels H/f W/f` float32."""
        encoded = self._vae.encode(images.to(self.device, self.dtype))
        latents = encoded.latent if self.class_name == "AutoencoderDC" else encoded.latent_dist.mode()
        latents = F.pixel_unshuffle(latents.float(), self.patch_size)
        return latents if self.statistics is None else self.statistics.normalise(latents)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents, `B latent_channels h w`, to images in about -1..1, `B 3 h*f w*f`."""
        latents = latents.to(self.device, torch.float32)
        if self.statistics is not None:
            latents = self.statistics.denormalise(latents)
        decoded: Tensor = self._vae.decode(F.pixel_shuffle(latents, self.patch_size).to(self.dtype)).sample
        return decoded

    @cached_property
    def _vae(self) -> Any:
        """The model of diffusers.

        Raises:
            UserError: if files are missing or damaged, or hold another model.
        """
        if message := self.missing_files():
            raise UserError(f"Weights are missing:\n  {message}")
        import diffusers
        from diffusers.utils import logging as diffusers_logging

        file = self.folder / WEIGHTS
        logger.info("Loading %s", file)
        diffusers_logging.set_verbosity_error()  # tensors that do not fit are an error below
        diffusers_logging.disable_progress_bar()
        try:
            with safe_open(file, "pt"):
                pass
            vae, told = getattr(diffusers, self.class_name).from_pretrained(
                self.folder,
                torch_dtype=self.dtype,
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=False,  # else tensors that the file lacks are an error in words of their own
                output_loading_info=True,
            )
        except SafetensorError as error:
            raise UserError(f"{file}: not a whole safetensors file ({error}). Fetch it again.") from None
        except RuntimeError as error:  # shapes that differ, from the second line on
            raise UserError(self._of_another_model((str(error).splitlines() * 2)[1].strip())) from None
        except Exception as error:
            raise UserError(f"{file}: diffusers cannot load it ({reason(error)}).") from error
        for kind, what in (("missing_keys", "lacks"), ("unexpected_keys", "has")):
            if names := sorted(told[kind]):
                others = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise UserError(self._of_another_model(f"it {what} {names[0]}{others}"))
        return vae.to(self.device).eval()

    def _of_another_model(self, how: str) -> str:
        """What is said of weights that are not of the model that the config.json beside them describes."""
        return f"{self.folder / WEIGHTS}: not the weights of the {self.class_name} in {self.folder / CONFIG} ({how})."


def _is_installed() -> bool:
    return find_spec(PACKAGE) is not None


def _files_of(model_id: str, folder: Path) -> ModelFiles:
    root = ModelFiles(model_id, ()).folder
    return ModelFiles(model_id, tuple((folder / name).relative_to(root).as_posix() for name in (WEIGHTS, CONFIG)))


def _given_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> LatentStatistics | None:
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UserError("encoder.vae.latent_mean, latent_std: give both, or neither to take them from the data.")
    if not len(mean) == len(std) == channels:
        raise UserError(f"encoder.vae.latent_mean, latent_std: need one number for each of {channels} channels.")
    return LatentStatistics(tuple(mean), tuple(std))
