"""Where a VAE in the layout of diffusers lies, and what its config.json says of its latents. Needs no torch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from aaa.encoders.downloads import fetch_model_files, model_folder
from aaa.errors import UserError, reason
from aaa.tracking.printed import command

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
OF_PIPELINE = "vae"  # its subfolder in a pipeline's folder
# What each class calls the widths of its stages, all but one of which halve the side.
STAGES = {"AutoencoderKL": "block_out_channels", "AutoencoderDC": "encoder_block_out_channels"}
ELSEWHERE = {"AutoencoderKLFlux2": " FLUX.2's VAE is encoder=flux2_qwen3."}


@dataclass(frozen=True)
class DescribedVAE:
    """What a VAE makes of pictures.

    Attributes:
        class_name: of diffusers.
        latent_channels: of a latent.
        downscale_factor: pixels of a latent's side.
    """

    class_name: str
    latent_channels: int
    downscale_factor: int


def vae_folder(path: str | None, model_id: str | None, subfolder: str | None) -> Path:
    """Where the VAE's two files are, or should be.

    Args:
        path: a folder, of the VAE or of a pipeline.
        model_id: or a repository, whose files lie where DiffSynth lays them.
        subfolder: in either; None: `vae` where config.json is there and not above it.

    Raises:
        UserError: if neither or both are given.
    """
    if (path is None) == (model_id is None):
        raise UserError(
            "encoder=diffusers: which VAE? Give one of encoder.vae.path=FOLDER and encoder.vae.model_id=OWNER/NAME."
        )
    root = model_folder(model_id) if model_id is not None else Path(str(path))
    if subfolder is not None:
        return root / subfolder
    of_pipeline = root / OF_PIPELINE
    return of_pipeline if (of_pipeline / CONFIG).is_file() and not (root / CONFIG).is_file() else root


def describe(
    path: str | None = None, model_id: str | None = None, subfolder: str | None = None, patch_size: int | None = None
) -> DescribedVAE:
    """What the config.json of a VAE says, which is fetched if a repository is named and it is not here.

    Args:
        path, model_id, subfolder: as `vae_folder` takes them.
        patch_size: side of a square of latents that is folded into the channels of one; None: 1.

    Raises:
        UserError: if there is none, or it is not of a VAE that is known here.
    """
    if patch_size is not None and not (type(patch_size) is int and patch_size > 0):
        raise UserError(f"encoder.vae.patch_size={patch_size}: must be a whole number from 1 on, or null.")
    file = vae_folder(path, model_id, subfolder) / CONFIG
    if model_id is not None and not file.is_file():
        fetch_model_files(model_id, [file.relative_to(model_folder(model_id)).as_posix()])
    if not file.is_file():
        _refuse(file, path, model_id, subfolder)
    vae = _described(file)
    side = patch_size or 1
    return replace(vae, latent_channels=vae.latent_channels * side**2, downscale_factor=vae.downscale_factor * side)


def _described(file: Path) -> DescribedVAE:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON ({reason(error)}).") from None
    name = config.get("_class_name") if isinstance(config, dict) else None
    if not isinstance(name, str) or name not in STAGES:
        told = (
            "says no _class_name, so that it is of no VAE of diffusers" if name is None else f"is of the class {name}"
        )
        hint = ELSEWHERE.get(str(name), "")
        raise UserError(f"{file}: {told}. encoder=diffusers takes {' and '.join(STAGES)}.{hint}")
    if (pictures := config.get("in_channels", 3)) != 3:
        raise UserError(f"{file}: in_channels={pictures}, but pictures have 3.")
    channels, stages = config.get("latent_channels"), config.get(STAGES[name])
    if not (type(channels) is int and channels > 0 and isinstance(stages, list) and stages):
        raise UserError(f"{file}: does not say latent_channels and {STAGES[name]}, as diffusers writes them.")
    return DescribedVAE(name, channels, 2 ** (len(stages) - 1))


def _refuse(file: Path, path: str | None, model_id: str | None, subfolder: str | None) -> NoReturn:
    folder, names = file.parent, [CONFIG, WEIGHTS]
    if model_id is None:
        asked, root, repository = f"encoder.vae.path={path}", Path(str(path)), "OWNER/NAME"
        if not root.is_dir():
            raise UserError(f"{asked}: there is no such folder (looked in {root.absolute()}).")
    else:
        asked, root, repository = f"encoder.vae.model_id={model_id}", model_folder(model_id), model_id
    if subfolder is not None:
        names = [f"{subfolder}/{name}" for name in names]
        asked += f" encoder.vae.subfolder={subfolder}"
    elif model_id is not None:
        asked += f" (a pipeline's repository has its VAE in encoder.vae.subfolder={OF_PIPELINE})"
    raise UserError(
        f"{asked}: has no {CONFIG} of a VAE (looked in {folder.absolute()}).\n"
        f"    {command('hf', 'download', repository, *names, '--local-dir', str(root))}"
    )
