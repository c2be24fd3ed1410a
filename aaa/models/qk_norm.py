"""Queries and keys of one length, so that no score of attention can grow without bound (Dehghani et al. 2023, arXiv
2302.05442, section 2; with RMSNorm as in Stable Diffusion 3, Esser et al. 2024, arXiv 2403.03206, section 5.3.2).
"""

import torch
from torch import Tensor, nn

EPSILON = 1e-6


class QKNorm(nn.Module):
    """Divides each query and each key by its root mean square, then scales it by numbers that are learned."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.scale_q = nn.Parameter(torch.ones(head_dim))
        self.scale_k = nn.Parameter(torch.ones(head_dim))

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, `B heads N head_dim`, in their own dtype."""
        return normalised(q, self.scale_q), normalised(k, self.scale_k)


def normalised(x: Tensor, scale: Tensor) -> Tensor:
    """`scale * x / sqrt(mean(x^2))`, over the last axis."""
    inverse = (x.float().square().mean(dim=-1, keepdim=True) + EPSILON).rsqrt()
    return x * inverse.to(x.dtype) * scale.to(x.dtype)
