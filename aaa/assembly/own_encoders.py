"""What an encoder of one's own has to have and to give, seen before pictures are encoded with it for hours."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from aaa.encoders.embedding import embed
from aaa.encoders.protocols import VAE, TextEncoder
from aaa.errors import UserError, named, require_call, require_methods

ATTRIBUTES = {
    "encoder.vae": ("latent_channels", "downscale_factor"),
    "encoder.text_encoder": ("prompt_dim", "max_length"),
}
CALLED = {
    "encoder.vae": {"encode": ("images",), "decode": ("latents",)},
    "encoder.text_encoder": {"encode": ("prompts",)},
}


def require_encoder(encoder: object, key: str) -> None:
    """Refuse what lacks something that is asked of an encoder.

    Args:
        encoder: is made.
        key: `encoder.vae` or `encoder.text_encoder`.

    Raises:
        UserError: naming it.
    """
    if missing := [name for name in ATTRIBUTES[key] if not isinstance(getattr(encoder, name, None), Integral)]:
        raise UserError(
            f"{key}: {type(encoder).__name__} has no {' and no '.join(missing)}, a whole number (docs/extending.md)."
        )
    require_methods(encoder, CALLED[key], key, "encoding asks of an encoder")
    for method, given in CALLED[key].items():
        require_call(getattr(encoder, method), given, key)


@torch.no_grad()
def require_latents(vae: VAE, height: int, width: int) -> None:
    """Refuse a VAE that makes no latents of pictures, or no pictures of them, by two grey ones.

    Args:
        vae: where it encodes.
        height, width: of the pictures.

    Raises:
        UserError: naming its class, what it gives and what it has to give.
    """
    pictures = (2, 3, height, width)
    size = (2, vae.latent_channels, height // vae.downscale_factor, width // vae.downscale_factor)
    latents = vae.encode(torch.zeros(pictures))
    _require(latents, size, vae.encode, pictures)
    _require(vae.decode(latents), pictures, vae.decode, size)


@torch.no_grad()
def require_prompt_embeds(text_encoder: TextEncoder) -> None:
    """Refuse a text encoder that makes no prompt_embeds, by the empty prompt.

    Raises:
        UserError: naming its class, what it gives and what it has to give.
    """
    prompt_embeds, _ = embed(text_encoder, [""])
    if not prompt_embeds.is_floating_point():
        raise UserError(
            f"encoder.text_encoder: {named(text_encoder.encode)} gives prompt_embeds of {_dtype(prompt_embeds)}, and "
            "has to give them of float32 or another kind of floating-point numbers (docs/extending.md)."
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _require(given: Any, size: tuple[int, ...], method: Any, of: tuple[int, ...]) -> None:
    if isinstance(given, Tensor) and given.shape == size and given.is_floating_point():
        return
    told = f"a {type(given).__name__}"
    if isinstance(given, Tensor):
        told = f"a tensor of shape {tuple(given.shape)} of {_dtype(given)}"
    raise UserError(
        f"encoder.vae: {named(method)} gives {told} for one of shape {of}, and has to give one of shape {size} of "
        "float32 or another kind of floating-point numbers (docs/extending.md)."
    )
