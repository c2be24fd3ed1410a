"""What of a parameter changes with the size of its model, so that a learning rate found on a small one is right.

Everything is said relative to a base, a model of the same kind with another width and depth, at which the rate was
found: there all factors are 1. `in` and `out` are how many times as many inputs and outputs a matrix has as at the
base, `depth` how many times as many blocks the model:

| | initial std | AdamW's rate | Muon's rate, times its scale |
| --- | --- | --- | --- |
| vectors, tables, biases | 1 | 1 | |
| matrices from a fixed size (`in` = 1) | 1 | 1 | sqrt(out) |
| matrices between widths | 1 / sqrt(in) | 1 / in | sqrt(out / in) |
| matrices to a fixed size (`out` = 1) | 1 / in | 1 / in | sqrt(1 / in) |
| ... that end a residual branch, and their biases | ... / depth | ... / depth | ... / depth |

Width by Tensor Programs V (2203.03466, table 3), which holds for diffusion transformers too (2505.15270), for Muon by
the spectral condition (2310.17813, condition 1); depth by CompleteP (2505.01618, table 1 with alpha = 1). CompleteP
divides each branch by the depth in the forward pass. Here that factor is in the weights: `m (W x) = (m W) x`, whose
initial values and steps are m times those of W where the size of a gradient does not change the size of a step
(2203.03466, appendix J). So a model computes what it always did, and checkpoints stay what they are. Weight decay is
1 / rate, so that a step takes the same share of a weight at every size (2505.01618, table 1).

Heads stay as wide as they are at the base and are more, as in 2505.15270: then attention needs no factor.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from aaa.models.parameters import matrices


@runtime_checkable
class EndsBranches(Protocol):
    """A part of a block that says which of its layers write to the residual stream."""

    def layers_to_stream(self) -> list[nn.Linear]:
        """The last layer of each branch."""
        ...


class Growth(NamedTuple):
    """How a parameter's surroundings differ from those that it has in the base model.

    Attributes:
        kind: `vector` (or table), or by which of its sides grow with the width an `input`, `hidden`, `output` or
            `fixed` matrix.
        fan_in, fan_out: of a matrix, over those at the base; of a vector 1.
        longest: side of a matrix, over that at the base.
        fans: the sum of both of a matrix, over that at the base.
        depth: of the model over the base's where the parameter ends a residual branch, else 1.
    """

    kind: str = "vector"
    fan_in: float = 1.0
    fan_out: float = 1.0
    longest: float = 1.0
    fans: float = 1.0
    depth: float = 1.0

    @property
    def adamw(self) -> float:
        """Factor on the learning rate of AdamW, whose steps have a size for each number."""
        return 1 / self.fan_in / self.depth

    @property
    def muon(self) -> float:
        """Factor on the learning rate of a Muon whose steps are scaled by the root of a matrix's longest side."""
        return math.sqrt(self.fan_out / self.fan_in / self.longest) / self.depth

    @property
    def std(self) -> float:
        """Of the initial values, over that at the base."""
        width = 1 / self.fan_in if self.kind == "output" else 1 / math.sqrt(self.fan_in)
        return width / self.depth

    @property
    def std_of_scaled(self) -> float:
        """Factor on initial values that are Xavier-uniform already, and in branches' ends over sqrt(2 * depth).

        Those are what `model.init=scaled` starts from.
        """
        return self.std * math.sqrt(self.fans) * math.sqrt(self.depth)


def growths(model: nn.Module, base: nn.Module, depth: float) -> dict[str, Growth]:
    """How each parameter of a model has grown.

    Args:
        model: of any width, whose blocks are in a list of that name.
        base: the same at the base's width and the model's depth; may be on the meta device.
        depth: of the model over the base's.

    Returns:
        By the parameters' names.

    Raises:
        ValueError: if the models are not the same but for their width, or the depth differs and blocks do not say
            which of their layers write to the residual stream.
    """
    shapes = {name: parameter.shape for name, parameter in base.named_parameters()}
    named = dict(model.named_parameters())
    if shapes.keys() != named.keys():
        raise ValueError(f"at the base it has other parameters: {sorted(shapes.keys() ^ named.keys())[0]}")
    ends = ends_of_branches(model)
    if depth != 1 and not ends:
        raise ValueError("its blocks do not say which of their layers write to the residual stream")
    are_matrices = matrices(model)
    grown = {
        name: _of_matrix(parameter.shape, shapes[name]) if name in are_matrices else Growth()
        for name, parameter in named.items()
    }
    return {name: growth._replace(depth=depth) if name in ends else growth for name, growth in grown.items()}


def _of_matrix(shape: torch.Size, base: torch.Size) -> Growth:
    fans, base_fans = ((math.prod(sides[1:]), sides[0]) for sides in (shape, base))
    fan_in, fan_out = (now / then for now, then in zip(fans, base_fans, strict=True))
    kind = ("fixed", "input", "output", "hidden")[2 * (fan_in != 1) + (fan_out != 1)]
    return Growth(kind, fan_in, fan_out, max(fans) / max(base_fans), sum(fans) / sum(base_fans))


def ends_of_branches(model: nn.Module) -> set[str]:
    """The names of the parameters whose layers write to the residual stream of the model's own blocks.

    Blocks that refine the prompt have a stream of their own, as deep at every size.
    """
    ends = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, EndsBranches)
        for layer in module.layers_to_stream()
        for parameter in layer.parameters()
    }
    named = model.named_parameters()
    return {name for name, parameter in named if id(parameter) in ends and name.startswith("blocks.")}


@torch.no_grad()
def scale_initial_values(model: nn.Module, grown: Mapping[str, Growth]) -> None:
    """Bring weights that `model.init=scaled` gave to the size that the table above says."""
    for name, parameter in model.named_parameters():
        if (factor := grown[name].std_of_scaled) != 1:
            parameter.mul_(factor)
