"""A transformer block: what it computes, how it starts, what it costs."""

import math
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aaa.models.attention import attend
from aaa.models.costs import linear_flops


class BlockContext(NamedTuple):
    """What every block of a model is told besides the tokens.

    Attributes:
        positions: of the tokens, `1 N D`: the latents row by row, then the prompt.
        timestep_emb: `B D`.
        height, width: of the latents, so that the first `height * width` tokens are theirs.
    """

    positions: Tensor
    timestep_emb: Tensor
    height: int
    width: int


class Block(Protocol):
    """What a model asks of its blocks; any `nn.Module` with these methods is one."""

    def __call__(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        ...

    def init_weights(self, depth: int) -> None:
        """Start as one of `depth` blocks of a network that does nothing yet; matrices are Xavier-uniform before."""
        ...

    def flops(self, tokens: int) -> int:
        """Floating-point operations of a forward pass for one picture of so many tokens."""
        ...


class DiTBlock(nn.Module):
    """Self-attention over latents and prompt tokens together, then an MLP.

    Each branch normalises `hidden + positions` without learned scale and is multiplied by `1 + gate`, where
    the gate comes from the timestep alone.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attn = nn.RMSNorm(dim, elementwise_affine=False)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_mlp = nn.RMSNorm(dim, elementwise_affine=False)
        hidden = round(dim * mlp_ratio)
        self.ff = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim))
        self.to_gate = nn.Linear(dim, dim * 2)

    @torch.no_grad()
    def init_weights(self, depth: int) -> None:
        """Gates of 1 (adaLN-Zero's idea, Peebles and Xie 2023), small steps on the residual stream.

        What writes to the stream is divided by sqrt(2 * depth) (GPT-2, Radford et al. 2019).
        """
        nn.init.zeros_(self.to_gate.weight)
        for layer in self.layers_to_stream():
            layer.weight.div_(math.sqrt(2 * depth))

    def layers_to_stream(self) -> list[nn.Linear]:
        """The last layer of each branch, which writes to the residual stream."""
        return [layer for layer in (self.to_out, self.ff[-1]) if isinstance(layer, nn.Linear)]

    def fused_matrices(self) -> dict[str, int]:
        """The gates of both branches."""
        return {"to_gate.weight": 2}

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of tokens, `B N D`, as `3 B heads N head_dim`."""
        # One product instead of three: x is read, and under autocast rounded, once. The keys of checkpoints stay.
        projections = (self.to_q, self.to_k, self.to_v)
        weight, bias = (torch.cat([getattr(layer, name) for layer in projections]) for name in ("weight", "bias"))
        return F.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def attention(self, x: Tensor) -> Tensor:
        """Attention over normalised tokens, `B N D`."""
        q, k, v = self.project(x)
        out = attend(q, k, v)  # B heads N head_dim
        return self.to_out(out.transpose(1, 2).flatten(2))  # B N D

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        gate_attn, gate_mlp = self.to_gate(context.timestep_emb)[:, None].chunk(2, dim=-1)  # B 1 D each
        x = x + self.attention(self.norm_attn(x + context.positions)) * (1 + gate_attn)
        return x + self.ff(self.norm_mlp(x + context.positions)) * (1 + gate_mlp)

    def flops(self, tokens: int) -> int:
        """Of a forward pass for one picture: the gates once, the matrices and attention for every token."""
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Linear) and layer is not self.to_gate]
        dim = self.to_out.in_features
        attention = 4 * tokens**2 * dim  # scores, and their mix of values
        return linear_flops(layers, tokens) + linear_flops([self.to_gate], 1) + attention
