"""What a sample costs to train on: the model's floating-point operations, and those of what is trained besides."""

from typing import Protocol, runtime_checkable

from torch import nn

from aaa.models.costs import TRAINING_FLOPS, forward_flops
from aaa.objectives.flow_matching import Objective


@runtime_checkable
class AddsFlops(Protocol):
    """An objective that knows what its own modules take; those of any other are not counted."""

    def flops(self, height: int, width: int) -> int:
        """Of a forward pass of them for one picture of `height * width` latents; a multiply and an add are two."""
        ...


def training_flops(
    model: nn.Module,
    objective: Objective,
    height: int,
    width: int,
    text_tokens: int,
    *,
    channels: int,
    text_dim: int,
) -> int:
    """Floating-point operations of a forward and a backward pass for one picture.

    Args:
        model, height, width, text_tokens, channels, text_dim: as `forward_flops` takes them.
        objective: that the model is trained on, with all of its terms, also such as end before the run does.
    """
    forward = forward_flops(model, height, width, text_tokens, channels=channels, text_dim=text_dim)
    besides = objective.flops(height, width) if isinstance(objective, AddsFlops) else 0
    return TRAINING_FLOPS * (forward + besides)
