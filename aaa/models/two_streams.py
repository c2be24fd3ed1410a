"""Weights of their own for latents and prompt, which attend to each other (MMDiT, Esser et al. 2024, arXiv 2403.03206,
section 4).
"""

import torch
from torch import Tensor, nn

from aaa.models.attention import attend
from aaa.models.block import BlockContext, DiTBlock, WithValues
from aaa.models.costs import linear_flops, linear_layers
from aaa.models.design import Design


class TwoStreamBlock(nn.Module):
    """Two blocks side by side, one for the prompt and one for all other tokens, with one attention over both.

    Args:
        dim, heads, mlp_ratio: as in `AAADiT`.
        design: the switches.
        first: whether it is the first, which has no values of another to mix in.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, design: Design, *, first: bool = False) -> None:
        super().__init__()
        self.latents = DiTBlock(dim, heads, mlp_ratio, design, first=first)
        self.text = DiTBlock(dim, heads, mlp_ratio, design, first=first)

    def init_weights(self, depth: int) -> None:
        """Both as one of `depth` blocks."""
        for stream in (self.latents, self.text):
            stream.init_weights(depth)

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        return self.with_values(x, context).x

    def with_values(self, x: Tensor, context: BlockContext) -> WithValues:
        """Tokens `B N D` in; tokens, and the values of their attention, out."""
        streams, contexts = (self.latents, self.text), context.divided(x.shape[1] - context.text_tokens)
        parts = x.tensor_split((x.shape[1] - context.text_tokens,), dim=1)
        branches = [stream.branches(context) for stream in streams]
        projected = [
            stream.queries_keys_values(part, attention, told)
            for stream, part, (attention, _), told in zip(streams, parts, branches, contexts, strict=True)
        ]
        q, k, v = (torch.cat(both, dim=2) for both in zip(*projected, strict=True))
        attended = attend(q, k, v, context.attended).tensor_split((x.shape[1] - context.text_tokens,), dim=2)
        done = []
        for stream, part, found, (attention, mlp), told in zip(
            streams, parts, attended, branches, contexts, strict=True
        ):
            done.append(stream.add_mlp(stream.add_attention(part, found, attention), mlp, told))
        return WithValues(torch.cat(done, dim=1), v)

    def flops(self, tokens: int) -> int:
        """Of a forward pass for one picture: each token is one stream's, and both make their own of the timestep."""
        return self.latents.flops(tokens) + linear_flops(linear_layers(self.text.to_gate), 1)
