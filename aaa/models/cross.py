"""The prompt as keys and values alone (PRX, github.com/Photoroom/PRX, models/prx_layers.py).

In each block latents attend to themselves and to the prompt at once: to their own keys and values are joined those
that the block makes of the prompt. A prompt's tokens ask for nothing and pass through no MLP, so that they stay what
they were before the first block, and cost two matrices each where those of other blocks cost all of them. What is made
of them depends neither on the picture nor on the timestep.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aaa.models.attention import attend
from aaa.models.block import BlockContext, DiTBlock, WithValues
from aaa.models.costs import linear_flops, linear_layers
from aaa.models.design import Design
from aaa.models.qk_norm import KeyNorm
from aaa.models.rope import rotate


class PromptKeysValues(nn.Module):
    """Keys and values of a prompt, by weights of its own.

    Args:
        dim, heads: as in `AAADiT`.
        design: the switches.
    """

    def __init__(self, dim: int, heads: int, design: Design) -> None:
        super().__init__()
        self.heads = heads
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.key_norm = KeyNorm(dim // heads) if design.qk_norm else None

    def forward(self, text: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of normalised tokens `B L D`, `B heads L head_dim` each.

        Args:
            text: the tokens.
            turns: how far their keys turn, as `rotate` takes it; None: not at all.
        """
        layers = (self.to_k, self.to_v)  # one product instead of two, as in `DiTBlock.project`
        weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
        projected = F.linear(text, weight, bias).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        keys, values = projected.split(1)
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        if turns is not None:
            keys = rotate(keys, turns)
        return keys.squeeze(0), values.squeeze(0)


class CrossBlock(DiTBlock):
    """A block that gives the prompt's tokens back as it got them.

    Args:
        dim, heads, mlp_ratio: as in `AAADiT`.
        design: the switches.
        first: whether it is the first, which has no values of another to mix in.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, design: Design, *, first: bool = False) -> None:
        super().__init__(dim, heads, mlp_ratio, design, first=first)
        self.text = PromptKeysValues(dim, heads, design)

    def with_values(self, x: Tensor, context: BlockContext) -> WithValues:
        """Tokens `B N D` in; those that are wanted, and the values that all had in attention, out."""
        own = x.shape[1] - context.text_tokens
        (x, text), (told, told_of_text) = x.tensor_split((own,), dim=1), context.divided(own)
        attention, mlp = self.branches(context)
        q, k, v = self.queries_keys_values(x, attention, told)
        text_k, text_v = self.text(self.norm_attn(self._placed(text, told_of_text)), told_of_text.rotation)
        if self.value_residual is not None and told_of_text.first_values is not None:
            text_v = self.value_residual(text_v, told_of_text.first_values)
        k, v = torch.cat([k, text_k], dim=2), torch.cat([v, text_v], dim=2)
        if context.wanted is not None:
            wanted = slice(context.wanted)
            q, x, told = q[:, :, wanted], x[:, wanted], told._replace(positions=told.positions[:, wanted])
        x = self.add_attention(x, attend(q, k, v, context.attended), attention)
        x = self.add_mlp(x, mlp, told)
        return WithValues(x if context.wanted is not None else torch.cat([x, text], dim=1), v)

    def flops(self, tokens: int, wanted: int | None = None, text_tokens: int = 0) -> int:
        """Of a forward pass for one picture.

        Args:
            tokens: of latents, of the prompt and others.
            wanted: how many of them are given back, none of the prompt; None: all.
            text_tokens: how many are the prompt's.
        """
        of_prompt, own = linear_layers(self.text), tokens - text_tokens
        queries = own if wanted is None else wanted
        attention = 4 * queries * tokens * self.to_out.in_features  # scores, and their mix of values
        once, projections = linear_layers(self.to_gate), [self.to_q, self.to_k, self.to_v]
        apart = {*of_prompt, *once, *projections}
        each = [layer for layer in linear_layers(self) if layer not in apart]
        return (
            linear_flops(of_prompt, text_tokens)
            + linear_flops(projections, own)
            + linear_flops(each, queries)
            + linear_flops(once, 1)
            + attention
        )
