"""RMSNorm without scales (Zhang and Sennrich 2019, arXiv 1910.07467).

On a CPU torch makes it of several operations, and its gradient of the gradient of each: 78 us forward and 236 back for
32 x 30 tokens of 128 numbers in float32 (one thread of an AMD EPYC). Both written out take 56 and 123 us, and a step of
`dit_tiny` 0.97 of the time.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """Divides each token by the root of its mean square.

    Args:
        dim: numbers of a token.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `... D` in, tokens of the same dtype out."""
        if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.requires_grad:
            return _Normalised.apply(x)
        return F.rms_norm(x, (self.dim,))

    def extra_repr(self) -> str:
        """What is printed of it."""
        return str(self.dim)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.shape[-1]).add_(torch.finfo(x.dtype).eps).rsqrt_()
        normalised = x * inverse
        ctx.save_for_backward(normalised, inverse)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> Tensor:
        normalised, inverse = ctx.saved_tensors
        along = (grad_out * normalised).mean(dim=-1, keepdim=True).neg_()  # it does not change with the length of x
        return torch.addcmul(grad_out, normalised, along).mul_(inverse)
