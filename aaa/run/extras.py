"""What an objective needs of the latent cache beside latents and prompts: computed once from the decoded latents."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from aaa.assembly.encoded import digests_in
from aaa.assembly.training_data import TrainingData
from aaa.data.cache_extras import open_extra
from aaa.data.code_fingerprint import code_fingerprint
from aaa.data.fingerprint import fingerprint
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
        UserError: if they cannot be computed or written.
    """
    for name, extra in objective.extras.items():
        try:
            open_extra(data.cache, name, _version(extra, data.cache.path.parent), _of_latents(extra, data.vae, device))
        finally:
            extra.release()


def _version(extra: Extra, cache_dir: Path) -> str:
    """What tells an extra from one of the same name that is computed in another way."""
    code = code_fingerprint([f"{extra.compute.__module__}.{extra.compute.__name__}"])
    if extra.files:
        digests = digests_in(cache_dir)
        code = fingerprint({"code": code, "files": {path.name: digests.digest(path) for path in extra.files}})
    return code[:8]


def _of_latents(extra: Extra, vae: VAE, device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda latents: extra.compute(vae.decode(latents.to(device)), vae.downscale_factor)
