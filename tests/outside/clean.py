"""Change 2, what the output means: the clean picture, from which the velocity follows."""

from torch import Tensor

from aaa.diffusion.prediction import Model


class Clean:
    """`velocity = (noised - clean) / sigma`, the division ending at `least_sigma`."""

    def __init__(self, least_sigma: float) -> None:
        self.least_sigma = least_sigma

    def velocity(self, model: Model, noised: Tensor, prompt_embeds: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
        """The velocity that the model holds."""
        return (noised - model(noised, prompt_embeds, timestep)) / sigma.clamp(min=self.least_sigma)[
            :, None, None, None
        ]
