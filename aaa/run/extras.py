"""What an objective needs of the latent cache beside latents and prompts: computed once from the decoded latents."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.cache_extras import open_extra
from aaa.data.fingerprint import code_fingerprint
from aaa.encoders.protocols import VAE
from aaa.objectives.terms import Extra


def open_extras(cache: LatentCache, extras: Mapping[str, Extra], vae: VAE, device: torch.device) -> None:
    """Let the batches of a cache hold what an objective needs, computing what no earlier run has.

    Args:
        cache: of latents.
        extras: by name.
        vae: that made them; pictures are what it decodes, which is what a model can learn of them.
        device: to compute on.

    Raises:
        UserError: if they cannot be written.
    """
    for name, extra in extras.items():
        function = f"{extra.compute.__module__}.{extra.compute.__qualname__}"
        open_extra(cache, name, code_fingerprint([function])[:8], _of_latents(extra, vae, device))


def _of_latents(extra: Extra, vae: VAE, device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda latents: extra.compute(vae.decode(latents.to(device)), vae.downscale_factor)
