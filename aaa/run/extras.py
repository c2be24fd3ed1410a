"""What an objective needs of the latent cache beside latents and prompts: computed once from the decoded latents."""

from collections.abc import Callable

import torch
from torch import Tensor

from aaa.assembly.data import TrainingData
from aaa.data.cache_extras import open_extra
from aaa.data.fingerprint import code_fingerprint
from aaa.encoders.protocols import VAE
from aaa.objectives.flow_matching import Objective
from aaa.objectives.terms import Extra


def open_extras(data: TrainingData, objective: Objective, device: torch.device) -> None:
    """Let the batches of a run's data hold what its objective needs, computing what no earlier run has.

    Pictures are what the VAE decodes, which is what a model can learn of them.

    Args:
        data: its cache takes them up.
        objective: that needs them.
        device: to compute on.

    Raises:
        UserError: if they cannot be written.
    """
    for name, extra in objective.extras.items():
        function = f"{extra.compute.__module__}.{extra.compute.__qualname__}"
        open_extra(data.cache, name, code_fingerprint([function])[:8], _of_latents(extra, data.vae, device))


def _of_latents(extra: Extra, vae: VAE, device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda latents: extra.compute(vae.decode(latents.to(device)), vae.downscale_factor)
