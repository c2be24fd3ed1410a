"""Guidance: the velocity to follow, from what models say with and without the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from einops import repeat
from torch import Tensor

from aaa.diffusion.prediction import Model, Prediction
from aaa.diffusion.schedulers import ROUNDING, TRAIN_TIMESTEPS
from aaa.errors import UserError, require_number

# The velocity to follow from latents `B C H W` at a noise level, 0..1.
Predict = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class VelocityModel:
    """The velocity that a network holds for noised latents.

    A guidance that wants more of the network than one output (a head on its way, a pass by another route) asks
    `network` itself; `of` makes velocity of what it says.

    Attributes:
        network: predicts whatever it predicts.
        prediction: what that means.
        seeds: of the pictures that are drawn, for a guidance that draws at random itself.
        timestep_dtype: that timesteps are rounded to, as they were in training.
    """

    network: Model
    prediction: Prediction
    seeds: Sequence[int] = ()
    timestep_dtype: torch.dtype = torch.float32

    def __call__(self, latents: Tensor, prompt_embeds: Tensor, sigma: float) -> Tensor:
        """The velocity, `B C H W`, at one noise level for latents, `B C H W`, and prompts, `B L D`."""
        level = torch.full((1,), sigma, device=latents.device)  # `torch.tensor` would wait for a GPU
        return self.prediction.velocity(self.network, latents, prompt_embeds, self.timestep(latents, sigma), level)

    def timestep(self, latents: Tensor, sigma: float) -> Tensor:
        """What the network is told of a noise level, `1` for all latents, `B C H W`, alike."""
        return torch.full((1,), sigma * TRAIN_TIMESTEPS, device=latents.device, dtype=self.timestep_dtype)

    def of(self, network: Model) -> "VelocityModel":
        """The same of another network, or of another way through this one."""
        return replace(self, network=network)


class Guidance(Protocol):
    """A way to steer; named by `_target_` in conf/guidance, with its scale.

    Attributes:
        reads_negative_prompt: whether it makes a difference what the negative prompt is.
    """

    reads_negative_prompt: bool

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """What a sampler follows.

        Args:
            model: predicts velocity.
            prompt_embeds: what to draw, `B L D`.
            negative_prompt_embeds: what to steer away from, `B L D`; the empty prompt's as a rule.
        """
        ...

    def passes(self, sigma: float) -> int:
        """How many passes through a network a picture takes at a noise level."""
        ...


class Extrapolation:
    """Steering on from a weaker prediction through a better one: what the kinds of guidance have in common.

    Args:
        scale: how far; 1 is the better prediction alone, and spares the weaker one's pass.
        interval: noise levels, from and to, within which it steers; outside the better prediction is followed alone
            (Kynkaanniemi et al. 2024, arXiv 2404.07724).
        rescale: how much of what steering adds to the standard deviation is taken back, 0..1 (Lin et al. 2023, arXiv
            2305.08891, algorithm 2).

    Raises:
        UserError: if the interval is none, or `rescale` no share.
    """

    def __init__(self, scale: float, interval: Sequence[float] = (0.0, 1.0), rescale: float = 0.0) -> None:
        self.scale, self.rescale = scale, rescale
        self.low, self.high = _interval(interval)
        require_number("guidance.rescale", rescale, least=0, most=1)

    def steers(self, sigma: float) -> bool:
        """Whether it does anything at this noise level."""
        return self.scale != 1 and self.low - ROUNDING <= sigma <= self.high + ROUNDING

    def passes(self, sigma: float) -> int:
        """See `Guidance`."""
        return 2 if self.steers(sigma) else 1

    def beyond(self, better: Tensor, weaker: Tensor) -> Tensor:
        """On from the weaker velocity through the better one, both `B C H W`."""
        guided = weaker + self.scale * (better - weaker)
        return rescaled(guided, better, self.rescale) if self.rescale else guided


class PromptGuidance(Extrapolation):
    """Classifier-free guidance (Ho and Salimans 2022): on from the negative prompt's velocity through the prompt's."""

    reads_negative_prompt = True

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """See `Guidance`."""
        both_embeds = torch.cat([prompt_embeds, negative_prompt_embeds])

        def predict(latents: Tensor, sigma: float) -> Tensor:
            if not self.steers(sigma):
                return model(latents, prompt_embeds, sigma)
            twice = repeat(latents, "b c h w -> (two b) c h w", two=2)
            positive, negative = model(twice, both_embeds, sigma).chunk(2)
            return self.beyond(positive, negative)

        return predict


def rescaled(guided: Tensor, better: Tensor, share: float) -> Tensor:
    """The guided velocity with the standard deviation of each picture's brought back to the better one's, by a share.

    `share * guided * std(better) / std(guided) + (1 - share) * guided` (Lin et al. 2023, algorithm 2).

    Args:
        guided, better: `B C H W`.
        share: 0 leaves it as it is, 1 gives it the very deviation of `better`.
    """
    wanted, found = (velocity.float().std(dim=(1, 2, 3), keepdim=True) for velocity in (better, guided))
    return guided * (share * wanted / found.clamp(min=torch.finfo(found.dtype).tiny) + (1 - share)).to(guided.dtype)


def _interval(interval: object) -> tuple[float, float]:
    levels = list(interval) if isinstance(interval, Sequence) else []
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels):
        match levels:
            case [low, high] if 0 <= low < high <= 1:
                return low, high
    raise UserError(
        f"guidance.interval={interval}: must be two noise levels from 0 (clean) to 1 (pure noise), the lower first, "
        "such as [0.2,0.8]."
    )
