"""Change 4b, weights of noise levels."""

import torch

from aaa.diffusion.schedulers import LogitNormalScheduler, NoiseLevels


class MinSNR(LogitNormalScheduler):
    """Logit-normal noise levels that count by their signal-to-noise ratio, up to a bound."""

    def __init__(self, gamma: float, mean: float, std: float, shift: float, base_tokens: int | None) -> None:
        super().__init__(mean, std, shift, base_tokens)
        self.gamma = gamma

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        """Levels with their weights."""
        levels = super().draw(batch_size, generator)
        weight = torch.minimum((1 - levels.sigma).square(), self.gamma * levels.sigma.square())
        return levels._replace(weight=weight)
