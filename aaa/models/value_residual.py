"""Values of the first block in all later ones (ResFormer, Zhou et al. 2024, arXiv 2410.17897, equation 6)."""

import torch
from torch import Tensor, nn


class ValueResidual(nn.Module):
    """`share * V_1 + (1 - share) * V_n`, with one learned share a block, which begins at one half."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, values: Tensor, first_values: Tensor) -> Tensor:
        """Values of this block and of the first, of one shape."""
        return torch.lerp(values, first_values, self.share.to(values.dtype))
