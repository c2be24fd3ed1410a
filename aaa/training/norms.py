"""Norms of weights and gradients, by part of the model: where training goes wrong shows here first."""

import re
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from aaa.training.sharding import local, shard_group

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
    return dict(zip(sorted(parts), total_norms([parts[name] for name in sorted(parts)]), strict=True))


def total_norms(groups: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The norm of each group of tensors as one vector.

    Tensors may be divided over processes, all of a group or none; then all processes must ask, and it is one exchange
    for all groups together.
    """
    processes = shard_group(tensor for group in groups for tensor in group)
    if processes is None:
        return [nn.utils.get_total_norm(group) for group in groups]
    norms = torch.stack([nn.utils.get_total_norm([local(tensor) for tensor in group]) for group in groups])
    squares = norms.square()
    dist.all_reduce(squares, group=processes)
    return list(squares.sqrt())


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm, of all of them as one vector, that they may have at most.

    Args:
        parameters: some divided over processes, if any are; the gradients of the others are alike in all of them.
        max_norm: may be infinite.

    Returns:
        What the norm was.
    """
    if shard_group(parameters) is None:
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    divided = [parameter for parameter in with_gradient if isinstance(parameter, DTensor)]
    others = [parameter for parameter in with_gradient if not isinstance(parameter, DTensor)]
    norms = total_norms([[gradient_of(parameter) for parameter in divided]])
    if others:
        norms.append(nn.utils.get_total_norm([gradient_of(parameter) for parameter in others]))
    norm = torch.linalg.vector_norm(torch.stack(norms))
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([local(gradient_of(parameter)) for parameter in with_gradient], factor)
    return norm


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """The gradient of a parameter that has one."""
    assert parameter.grad is not None
    return parameter.grad


def as_numbers(norms: Mapping[str, Tensor]) -> dict[str, float]:
    """The norms read back from the device, all at once."""
    if not norms:
        return {}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True))
