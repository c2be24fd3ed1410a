"""What a VAE keeps of the pictures: cached latents decoded and put beside the originals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.decoding import decode_pictures
from aaa.data.encoding import Fit
from aaa.data.live_prompts import latents_of
from aaa.data.pictures import crop_and_resize, to_tensor
from aaa.data.records import Source
from aaa.encoders.protocols import VAE
from aaa.errors import UserError


@dataclass(frozen=True)
class Reconstructions:
    """Pictures before and after.

    Attributes:
        prompts: of each picture.
        originals: as they were encoded.
        decoded: from their cached latents.
        psnr: peak signal-to-noise ratio of each, in dB over 8-bit pixels; infinite where none differs.
    """

    prompts: Sequence[str]
    originals: Sequence[Image.Image]
    decoded: Sequence[Image.Image]
    psnr: Tensor


def reconstruct(cache: LatentCache, vae: VAE, source: Source, fit: Fit, count: int) -> Reconstructions:
    """Decode the first `count` records of the cache, and read their originals again.

    Records are found again by their keys, which several may share: of those the first that can be read is shown.

    Raises:
        UserError: if none of them is found.
    """
    originals_of_cache = (index for index, record in enumerate(cache.records) if not record.flipped)
    wanted: dict[str, int] = {}
    for index in islice(originals_of_cache, count):
        wanted.setdefault(cache.records[index].key, index)
    prompts: list[str] = []
    originals: list[Image.Image] = []
    decoded: list[Image.Image] = []
    for record in (source[index] for index in range(len(source))):
        if not wanted:
            break
        if record.key not in wanted:
            continue
        try:
            picture = record.load()
        except UserError:  # left out of the cache, which has another of this key
            continue
        latents = latents_of(cache, torch.tensor([wanted.pop(record.key)]))
        prompts.append(record.prompt)
        originals.append(crop_and_resize(picture, *fit(picture.width, picture.height)))
        decoded += decode_pictures(vae, latents)
    if not originals:
        raise UserError(
            f"{cache.path}: none of its first {count} pictures can be read in the data it was made from any more. The "
            "latents are whole, but there is nothing to put beside them."
        )
    return Reconstructions(
        prompts,
        originals,
        decoded,
        torch.stack([_psnr(to_tensor(one), to_tensor(other)) for one, other in zip(originals, decoded, strict=True)]),
    )


def _psnr(one: Tensor, other: Tensor) -> Tensor:
    return -10 * ((one - other) / 2).square().mean().log10()
