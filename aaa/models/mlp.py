"""The MLP of a block: what a token makes of itself. All have as many parameters, but for roundings."""

import torch.nn.functional as F
from torch import Tensor, nn

from aaa.models.design import mlp_hidden


class ReLU2(nn.Module):
    """`max(x, 0)^2` (Primer, So et al. 2021, arXiv 2109.08668, section 4)."""

    def forward(self, x: Tensor) -> Tensor:
        """Of each number."""
        return F.relu(x).square()


class SwiGLU(nn.Module):
    """`W_out (silu(W_gate x) * W_value x)` (Shazeer 2020, arXiv 2002.05202, equation 6), two thirds as wide."""

    def __init__(self, dim: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = mlp_hidden("swiglu", dim, mlp_ratio)
        self.to_gate = nn.Linear(dim, hidden)
        self.to_value = nn.Linear(dim, hidden)
        self.to_out = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        return self.to_out(F.silu(self.to_gate(x)) * self.to_value(x))


def make_mlp(kind: str, dim: int, mlp_ratio: float) -> nn.Module:
    """The MLP `silu`, `relu2` or `swiglu`."""
    if kind == "swiglu":
        return SwiGLU(dim, mlp_ratio)
    hidden = mlp_hidden(kind, dim, mlp_ratio)
    return nn.Sequential(nn.Linear(dim, hidden), {"silu": nn.SiLU, "relu2": ReLU2}[kind](), nn.Linear(hidden, dim))


def last_layer(mlp: nn.Module) -> nn.Linear:
    """The layer that writes to the residual stream."""
    layer = mlp.to_out if isinstance(mlp, SwiGLU) else mlp[-1] if isinstance(mlp, nn.Sequential) else None
    assert isinstance(layer, nn.Linear)
    return layer
