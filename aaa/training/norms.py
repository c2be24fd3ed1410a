"""Norms of weights and gradients, by part of the model: where training goes wrong shows here first."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

BLOCK = re.compile(r"((?:blocks|layers)\.\d+|[^.]+)")


def norms_by_part(model: nn.Module) -> dict[str, Tensor]:
    """`grad_norm/blocks.0`, `weight_norm/blocks.0` and so on, on the device of the model.

    A part is a block of the transformer, or whatever else lies directly under the model.
    """
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        match = BLOCK.match(name.removeprefix("module."))
        part = match[1] if match else name
        parts.setdefault(f"weight_norm/{part}", []).append(parameter.detach())
        if parameter.grad is not None:
            parts.setdefault(f"grad_norm/{part}", []).append(parameter.grad)
    return {name: nn.utils.get_total_norm(tensors) for name, tensors in sorted(parts.items())}


def as_numbers(norms: Mapping[str, Tensor]) -> dict[str, float]:
    """The norms read back from the device, all at once."""
    if not norms:
        return {}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True))
