"""Change 1, a block: rotary positions by complex numbers, normalised queries and keys, SwiGLU."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from aaa.models.block import BlockContext
from aaa.models.costs import linear_flops, linear_layers


class RopeBlock(nn.Module):
    """Attention and a gated MLP; the prompt's tokens are not turned."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.RMSNorm(dim, elementwise_affine=False) for _ in range(2))
        self.q_norm, self.k_norm = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        hidden = round(dim * mlp_ratio * 2 / 3)
        self.up, self.down = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)
        self.to_scale = nn.Linear(dim, 2 * dim)

    @torch.no_grad()
    def init_weights(self, depth: int) -> None:
        """Small steps on the residual stream."""
        nn.init.zeros_(self.to_scale.weight)
        for layer in (self.to_out, self.down):
            layer.weight.div_(math.sqrt(2 * depth))

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        first, second = (1 + self.to_scale(context.timestep_emb)[:, None]).chunk(2, dim=-1)
        projected = self.to_qkv(self.norms[0](x) * first)
        q, k, v = rearrange(projected, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        q, k = (turn(part, context.height, context.width) for part in (self.q_norm(q), self.k_norm(k)))
        x = x + self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        gate, value = self.up(self.norms[1](x) * second).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * value)

    def flops(self, tokens: int) -> int:
        """Of a forward pass for one picture."""
        each = [layer for layer in linear_layers(self) if layer is not self.to_scale]
        return linear_flops(each, tokens) + linear_flops([self.to_scale], 1) + 4 * tokens**2 * self.to_out.in_features


def turn(tokens: Tensor, height: int, width: int) -> Tensor:
    """Pairs of numbers turned by row and by column, `B heads N d`."""
    quarter = tokens.shape[-1] // 4
    frequencies = 100.0 ** -(torch.arange(quarter, device=tokens.device) / quarter)
    sides = [torch.arange(side, device=tokens.device) for side in (height, width)]
    rows, columns = torch.meshgrid(*sides, indexing="ij")
    angles = torch.cat([axis.flatten()[:, None] * frequencies for axis in (rows, columns)], dim=-1)  # H W, d/2
    pairs = torch.view_as_complex(tokens[:, :, : height * width].float().unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).to(tokens.dtype)
    return torch.cat([turned, tokens[:, :, height * width :]], dim=2)
