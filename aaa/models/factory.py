"""From numbers to a model: checked, built, initialised."""

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import psutil
from torch import nn

from aaa.errors import UserError, require_number, require_one_of
from aaa.models.design import Design, require_possible, require_unused
from aaa.models.dit import AAADiT
from aaa.models.routing import Routing

# scaled: what the model's own `init_weights` gives. torch: what torch's layers and the tutorial's script start from,
# uniform matrices and normal positions.
INITS = ("scaled", "torch")


@runtime_checkable
class InitialisesItself(Protocol):
    """A model with initial values of its own, other than those of torch's layers."""

    def init_weights(self) -> None:
        """Draw them, from torch's global generator."""
        ...


def build_dit(
    dim: int,
    depth: int,
    heads: int,
    in_channels: int,
    text_dim: int,
    mlp_ratio: float = 3.0,
    position_grid: int = 16,
    init: str = "scaled",
    block: Callable[..., nn.Module] | None = None,
    routing: Routing | None = None,
    **switches: Any,
) -> AAADiT:
    """Build a DiT and initialise its weights from torch's global generator.

    Args:
        dim, depth, heads, in_channels, text_dim, mlp_ratio, position_grid, block, routing, switches: as in `AAADiT`.
        init: `scaled` or `torch`, see `INITS`.

    Raises:
        UserError: if no model has these numbers.
    """
    for name, value in (("dim", dim), ("depth", depth), ("heads", heads), ("position_grid", position_grid)):
        require_number(f"model.{name}", value, least=1)
    _refuse_what_memory_cannot_hold(dim, depth, mlp_ratio)
    if not mlp_ratio * dim >= 1 or math.isinf(mlp_ratio):
        raise UserError(f"model.mlp_ratio={mlp_ratio}: must be positive.")
    require_init(init)
    design = Design(**switches)
    require_possible(design, dim, depth, heads)
    if block is not None:
        require_unused(design, "block")
    model = AAADiT(dim, depth, heads, in_channels, text_dim, mlp_ratio, position_grid, block, routing, **switches)
    if init == "scaled":
        model.init_weights()
    return model


def require_init(name: str) -> None:
    """Refuse what is no way to start.

    Raises:
        UserError: naming those that there are.
    """
    require_one_of("model.init", name, INITS)


def _refuse_what_memory_cannot_hold(dim: int, depth: int, mlp_ratio: float) -> None:
    # Attention and MLP of each block, in float32, before there is any gradient.
    needed = 4.0 * depth * (5 * dim**2 + 2 * mlp_ratio * dim**2)
    available = psutil.virtual_memory().total
    if needed > available:
        raise UserError(
            f"model.dim={dim} model.depth={depth}: its weights alone take {needed / 2**30:.0f} GiB; this machine has "
            f"{available / 2**30:.0f}."
        )
