"""Queries and keys of one length, so that no score of attention can grow without bound (Dehghani et al. 2023, arXiv
2302.05442, section 2; with RMSNorm as in Stable Diffusion 3, Esser et al. 2024, arXiv 2403.03206, section 5.3.2).
"""

from typing import Any

import torch
from torch import Tensor, nn

from aaa.models.rms_norm import inverse_rms, through_rms
from aaa.models.token_rows import as_rows, belonging, from_rows, has_narrow_heads

EPSILON = 1e-6


class QKNorm(nn.Module):
    """Divides each query and each key by its root mean square, then scales it by numbers that are learned."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.scale_q = nn.Parameter(torch.ones(head_dim))
        self.scale_k = nn.Parameter(torch.ones(head_dim))

    def forward(self, queries_keys: Tensor) -> Tensor:
        """Queries and keys, `2 B heads N head_dim`, in their own dtype."""
        return _normalised(queries_keys, torch.stack([self.scale_q, self.scale_k]))


class KeyNorm(nn.Module):
    """The same of keys that have no queries beside them."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.scale_k = nn.Parameter(torch.ones(head_dim))

    def forward(self, keys: Tensor) -> Tensor:
        """Keys, `1 B heads N head_dim`, in their own dtype."""
        return _normalised(keys, self.scale_k[None])


def _normalised(x: Tensor, scale: Tensor) -> Tensor:
    """Of `K B heads N head_dim` each head, of each kind with its scales, `K head_dim`."""
    scale = scale[:, None, None, None].to(x.dtype)
    if torch.compiler.is_compiling():
        return x * inverse_rms(x, EPSILON) * scale
    normalised: Tensor = (_NormaliseRows if has_narrow_heads(x) else _Normalise).apply(x, scale)
    return normalised


class _Normalise(torch.autograd.Function):
    """`scale * x * inverse_rms(x)` in a few passes over memory, which are what it takes where nothing is compiled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        inverse = inverse_rms(x, EPSILON)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, scale)
        return unit * scale

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        unit, inverse, scale = ctx.saved_tensors
        # Laid out as queries and keys are, samples, tokens and heads are summed at once in 36 times as long on a CPU.
        grad_scale = (grad_out * unit).flatten(1, 3).sum(dim=1)[:, None, None, None]
        return through_rms(grad_out * scale, unit, inverse), grad_scale


class _NormaliseRows(torch.autograd.Function):
    """The same of queries and keys as rows; sums over heads are rounded to bf16, as what is made of them is anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        kinds, _, heads, _, head_dim = x.shape
        rows = as_rows(x)
        own = belonging(kinds * heads, head_dim, x.dtype)
        mean_square = ((rows * rows) @ own).float() / head_dim
        inverse = (mean_square + EPSILON).rsqrt().to(x.dtype) @ own.T
        unit = rows * inverse
        ctx.save_for_backward(unit, inverse, _wide(scale, heads), own)
        return from_rows(unit * _wide(scale, heads), x.shape)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        unit, inverse, scale, own = ctx.saved_tensors
        kinds, _, heads, _, head_dim = grad_out.shape
        grad = as_rows(grad_out)
        grad_scale = (grad * unit).flatten(0, 1).sum(dim=0).unflatten(0, (kinds, heads, head_dim)).sum(dim=1)
        grad_unit = grad * scale
        along = (((grad_unit * unit) @ own) / head_dim) @ own.T
        grad_x = torch.addcmul(grad_unit, unit, along, value=-1).mul_(inverse)
        return from_rows(grad_x, grad_out.shape), grad_scale[:, None, None, None]


def _wide(scale: Tensor, heads: int) -> Tensor:
    """Scales, `K 1 1 1 head_dim`, of each number of a row."""
    return scale.flatten(1).repeat(1, heads).flatten()
