"""A guidance of one's own."""

import torch
from torch import Tensor

from aaa.diffusion.guidance import Predict, VelocityModel


class Dimmed:
    """Classifier-free guidance whose scale falls from `scale` at pure noise to 1 at the picture.

    Args:
        scale: at pure noise.
    """

    reads_negative_prompt = True

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """The velocity to follow."""
        both_embeds = torch.cat([prompt_embeds, negative_prompt_embeds])

        def predict(latents: Tensor, sigma: float) -> Tensor:
            positive, negative = model(torch.cat([latents, latents]), both_embeds, sigma).chunk(2)
            scale = 1 + (self.scale - 1) * sigma
            return negative + scale * (positive - negative)

        return predict

    def passes(self, sigma: float) -> int:
        """With the prompt and without it, at any noise level."""
        del sigma
        return 2
