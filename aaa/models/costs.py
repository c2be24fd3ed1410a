"""What a model costs: parameters, and the floating-point operations that it says itself or that torch counts."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import nn

TRAINING_FLOPS = 3  # of a forward pass: itself, and the backward pass, which costs twice as much


@runtime_checkable
class SaysFlops(Protocol):
    """A model that knows what a forward pass takes; what says nothing is counted."""

    def forward_flops(self, height: int, width: int, text_tokens: int) -> int:
        """For one picture of `height * width` latents and a prompt of `text_tokens`; a multiply and an add are two."""
        ...


def count_parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """All that a module has within, and itself if it is one."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def linear_flops(layers: Iterable[nn.Linear], tokens: int) -> int:
    """Floating-point operations of linear layers for so many tokens."""
    return 2 * tokens * sum(layer.in_features * layer.out_features for layer in layers)


def other_flops(module: nn.Module, tokens: int) -> int:
    """The same of weights outside of linear layers, as if each were used once for every token."""
    layers = [layer for layer in module.modules() if not isinstance(layer, nn.Linear | nn.Embedding)]
    weights = [weight for layer in layers for weight in layer.parameters(recurse=False) if weight.ndim > 1]
    return 2 * tokens * sum(weight.numel() for weight in weights)


def forward_flops(model: nn.Module, height: int, width: int, text_tokens: int, *, channels: int, text_dim: int) -> int:
    """Floating-point operations of one forward pass for one picture (a multiply and an add are two).

    Args:
        model: on any device.
        height, width, channels: of the latents.
        text_tokens, text_dim: of the prompt embeddings.
    """
    if isinstance(model, SaysFlops) and getattr(model, "knows_its_flops", True):
        return model.forward_flops(height, width, text_tokens)
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(model.parameters())
    shapes = (1, channels, height, width), (1, text_tokens, text_dim), (1,)
    inputs = [torch.zeros(shape, device=parameter.device, dtype=parameter.dtype) for shape in shapes]
    training = {module: module.training for module in model.modules()}
    model.eval()  # norms of batches take note of what they see in training
    # Attention in plain products: torch 2.9 does not count what fuses them on a CPU.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    for module, was_training in training.items():
        module.training = was_training
    return counter.get_total_flops()
