"""Guidance by a model's own weaker way: the same network with some of its blocks left out for some tokens."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from aaa.data.randomness import generator
from aaa.device_copies import copied
from aaa.diffusion.guidance import Extrapolation, Predict, VelocityModel
from aaa.errors import require_number, require_one_of
from aaa.models.forward import Asked, WeakerWay, require_weaker_way

WEAKER_PROMPTS = ("same", "negative")


class RoutingGuidance(Extrapolation):
    """Sparse Guidance (Krause et al. 2026, arXiv 2601.01608): `weaker + scale * (better - weaker)`.

    The better prediction is that of all tokens, the weaker one that of the same network with a share of them routed
    around the blocks that tokens skipped in training, drawn anew for each evaluation from each picture's seed. Of a
    model of routing=sprint it is the one without these blocks, and nothing is drawn; with the negative prompt that is
    its paper's path-drop guidance (Park et al. 2025, arXiv 2510.21986).

    Args:
        scale, interval, rescale: as in `Extrapolation`.
        rate: share of a picture's latents that is routed in the weaker prediction, in 0..1.
        weaker_prompt: what the weaker prediction is told: the `same` prompt, or the `negative` or empty one.

    Raises:
        UserError: if one of these cannot be.
    """

    def __init__(
        self,
        scale: float,
        rate: float,
        weaker_prompt: str = "same",
        interval: Sequence[float] = (0.0, 1.0),
        rescale: float = 0.0,
    ) -> None:
        super().__init__(scale, interval, rescale)
        require_number("guidance.rate", rate, least=0, most=1)
        require_one_of("guidance.weaker_prompt", weaker_prompt, WEAKER_PROMPTS)
        self.rate, self.reads_negative_prompt = rate, weaker_prompt == "negative"

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """See `Guidance`.

        Raises:
            UserError: if the model routes no tokens.
        """
        network: Asked = model.network
        require_weaker_way(network, "guidance=routing")
        weaker_embeds = negative_prompt_embeds if self.reads_negative_prompt else prompt_embeds
        draws = [generator(seed, "weaker way") for seed in model.seeds]

        def predict(latents: Tensor, sigma: float) -> Tensor:
            better = model(latents, prompt_embeds, sigma)
            if not self.steers(sigma):
                return better
            places = latents.shape[-2] * latents.shape[-1]
            order = torch.stack([torch.rand(places, generator=own) for own in draws])  # B (H W)
            way = WeakerWay(self.rate, copied(order, latents.device))
            return self.beyond(better, model.of(partial(network, weaker=way))(latents, weaker_embeds, sigma))

        return predict
