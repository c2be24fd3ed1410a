"""A transformer block: what it computes, how it starts, what it costs."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aaa.data.randomness import generator
from aaa.errors import UserError, named, require_call, require_methods
from aaa.models.attention import attend
from aaa.models.costs import linear_flops, linear_layers, other_flops
from aaa.models.design import TUTORIAL, Design
from aaa.models.mlp import last_layer, make_mlp
from aaa.models.modulation import MODULATIONS, Branch
from aaa.models.qk_norm import QKNorm
from aaa.models.rms_norm import RMSNorm
from aaa.models.rope import rotate
from aaa.models.value_residual import ValueResidual


class BlockContext(NamedTuple):
    """What every block of a model is told besides the tokens, which are the latents', others, then the prompt's.

    Attributes:
        positions: of the tokens, `1 N D`, the latents row by row; 0 where positions are rotations.
        timestep_emb: `B D`.
        height, width: of the latents, so that the first `height * width` tokens are theirs.
        seed: of what is drawn at random; None where nothing is: when sampling, when validating.
        number: of the block, from 1.
        text_tokens: how many tokens are the prompt's; they are the last.
        rotation: `2 N head_dim/2` as rope.py makes it, or None where positions are learned.
        modulation: what adaLN-single's matrix makes of the timestep, `B 6D`, or None.
        first_values: of the first block's attention, `B heads N head_dim`, or None if they are not mixed in.
        attended: which tokens are not padding, as `attend` takes it, or None where all are attended.
        wanted: how many of the tokens, the first ones, anything reads after the block; None: all.
    """

    positions: Tensor
    timestep_emb: Tensor
    height: int
    width: int
    seed: int | None = None
    number: int = 1
    text_tokens: int = 0
    rotation: Tensor | None = None
    modulation: Tensor | None = None
    first_values: Tensor | None = None
    attended: Tensor | None = None
    wanted: int | None = None

    def generator(self, device: torch.device) -> torch.Generator | None:
        """What this block draws from, on this device, or None where nothing is drawn.

        It is a new one each time, so that a block that is computed again in the backward pass draws the same.
        """
        return None if self.seed is None else generator(self.seed, "block", self.number, device=device)

    def divided(self, count: int) -> tuple["BlockContext", "BlockContext"]:
        """The same of the first `count` tokens, and of the others; `attended` is of all that both attend to."""
        told = []
        for part in (slice(count), slice(count, None)):
            rotation = None if self.rotation is None else self.rotation[..., part, :]
            values = None if self.first_values is None else self.first_values[:, :, part]
            told.append(self._replace(positions=self.positions[:, part], rotation=rotation, first_values=values))
        return told[0], told[1]


class Block(Protocol):
    """What a model asks of its blocks; any `nn.Module` with these methods is one.

    One that draws at random is a `DrawsWhileTraining` too, and draws from `context.generator(x.device)`.
    """

    def __call__(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out."""
        ...

    def init_weights(self, depth: int) -> None:
        """Start as one of `depth` blocks of a network that does nothing yet; matrices are Xavier-uniform before."""
        ...

    def flops(self, tokens: int) -> int:
        """Floating-point operations of a forward pass for one picture of so many tokens."""
        ...


# The methods that a model calls, and what it gives them by place.
CALLED = {"forward": ("x", "context"), "init_weights": ("depth",), "flops": ("tokens",)}


def make_own_block(make: Callable[..., nn.Module], dim: int, heads: int, mlp_ratio: float) -> nn.Module:
    """A block of the class, or by the function, that `model.block` names.

    Raises:
        UserError: if it is made of other numbers, or makes what cannot be a block of a model.
    """
    require_call(make, ("dim", "heads", "mlp_ratio"), "model.block")
    block = make(dim, heads, mlp_ratio)
    if not isinstance(block, nn.Module):
        raise UserError(f"model.block: {named(make)} makes a {type(block).__name__}, and has to make an nn.Module.")
    require_methods(block, CALLED, "model.block", "a model asks of its blocks")
    for method, given in CALLED.items():
        require_call(getattr(block, method), given, "model.block")
    return block


def require_tokens(given: Any, x: Tensor, wanted: int | None, block: nn.Module) -> None:
    """Refuse what a block of one's own makes of tokens, unless that is tokens.

    Args:
        given: by the block.
        x: what the block was given, `B N D`.
        wanted: how many of the tokens it was to give; None: all.
        block: names it.

    Raises:
        UserError: naming its class.
    """
    shape = (len(x), x.shape[1] if wanted is None else wanted, x.shape[2])
    if isinstance(given, Tensor) and given.shape == shape:
        return
    told = f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
    raise UserError(
        f"model.block: {type(block).__name__}.forward gives {told}, and has to give tokens as it gets them, a tensor "
        f"of shape {shape} here (docs/extending.md)."
    )


class WithValues(NamedTuple):
    """What the first block gives where later ones mix its values into theirs.

    Attributes:
        x: tokens, `B N D`.
        values: of its attention, `B heads N head_dim`.
    """

    x: Tensor
    values: Tensor


class DiTBlock(nn.Module):
    """Self-attention over latents and prompt tokens together, then an MLP.

    The tutorial's: each branch normalises `hidden + positions` without learned scale and is multiplied by `1 + gate`,
    where the gate comes from the timestep alone. A design changes parts of it.

    Args:
        dim, heads, mlp_ratio: as in `AAADiT`.
        design: the switches.
        first: whether it is the first, which has no values of another to mix in.
    """

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float, design: Design = TUTORIAL, *, first: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.adds_positions = design.positions == "learned"
        self.norm_attn = RMSNorm(dim)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_mlp = RMSNorm(dim)
        self.ff = make_mlp(design.mlp, dim, mlp_ratio)
        self.to_gate = MODULATIONS[design.modulation](dim)
        self.qk_norm = QKNorm(dim // heads) if design.qk_norm else None
        self.value_residual = ValueResidual() if design.value_residual and not first else None

    @torch.no_grad()
    def init_weights(self, depth: int) -> None:
        """Gates that do nothing yet (adaLN-Zero, Peebles and Xie 2023), small steps on the residual stream.

        What writes to the stream is divided by sqrt(2 * depth) (GPT-2, Radford et al. 2019).
        """
        self.to_gate.init_weights()
        for layer in self.layers_to_stream():
            layer.weight.div_(math.sqrt(2 * depth))

    def layers_to_stream(self) -> list[nn.Linear]:
        """The last layer of each branch, which writes to the residual stream."""
        return [self.to_out, last_layer(self.ff)]

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of tokens, `B N D`, as `3 B heads N head_dim`."""
        # One product instead of three: x is read, and under autocast rounded, once. The keys of checkpoints stay.
        projections = (self.to_q, self.to_k, self.to_v)
        weight, bias = (torch.cat([getattr(layer, name) for layer in projections]) for name in ("weight", "bias"))
        return F.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def branches(self, context: BlockContext) -> tuple[Branch, Branch]:
        """What the timestep does to attention and MLP."""
        return self.to_gate.branches(context.timestep_emb, context.modulation)

    def queries_keys_values(self, x: Tensor, branch: Branch, context: BlockContext) -> tuple[Tensor, Tensor, Tensor]:
        """Of tokens `B N D`, `B heads N head_dim` each, as attention takes them."""
        projected = self.project(branch.enter(self.norm_attn(self._placed(x, context))))
        if self.qk_norm is None and context.rotation is None:
            q, k, v = projected
        else:
            queries_keys, values = projected.split((2, 1))
            q, k = self._turned(queries_keys, context)
            v = values.squeeze(0)
        if self.value_residual is not None and context.first_values is not None:
            v = self.value_residual(v, context.first_values)
        return q, k, v

    def add_attention(self, x: Tensor, attended: Tensor, branch: Branch) -> Tensor:
        """Tokens `B N D` with what attention found for them, `B heads N head_dim`."""
        return x + branch.leave(self.to_out(attended.transpose(1, 2).flatten(2)))

    def add_mlp(self, x: Tensor, branch: Branch, context: BlockContext) -> Tensor:
        """Tokens `B N D` with what the MLP makes of them."""
        return x + branch.leave(self.ff(branch.enter(self.norm_mlp(self._placed(x, context)))))

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        """Tokens `B N D` in, tokens out: those that are wanted."""
        return self.with_values(x, context).x

    def with_values(self, x: Tensor, context: BlockContext) -> WithValues:
        """Tokens `B N D` in; those that are wanted, and the values that all had in attention, out."""
        attention, mlp = self.branches(context)
        q, k, v = self.queries_keys_values(x, attention, context)
        if context.wanted is not None:  # the others are attended, and nothing is made of them
            wanted = slice(context.wanted)
            q, x = q[:, :, wanted], x[:, wanted]
            context = context._replace(positions=context.positions[:, wanted], text_tokens=0)
        x = self.add_attention(x, attend(q, k, v, context.attended), attention)
        return WithValues(self.add_mlp(x, mlp, context), v)

    @property
    def counts_itself(self) -> bool:
        """Whether `flops` is what it takes: with layers of other kinds only where a block has said so of its own."""
        return type(self).flops is not DiTBlock.flops or not other_flops(self, 1)

    def flops(self, tokens: int, wanted: int | None = None) -> int:
        """Of a forward pass for one picture: the gates once, the matrices and attention for every token.

        Of tokens that are not `wanted` only queries, keys and values are made; None: all are. Layers of other kinds,
        which a block of one's own may have, do not count: see `counts_itself`.
        """
        projections = {self.to_q, self.to_k, self.to_v}
        once = set(linear_layers(self.to_gate))
        each = [layer for layer in linear_layers(self) if layer not in once | projections]
        read = tokens if wanted is None else wanted
        attention = 4 * read * tokens * self.to_out.in_features  # scores, and their mix of values
        return linear_flops(projections, tokens) + linear_flops(each, read) + linear_flops(once, 1) + attention

    def _turned(self, queries_keys: Tensor, context: BlockContext) -> Tensor:
        """Queries and keys, `2 B heads N head_dim`, normalised and turned to their places."""
        if self.qk_norm is not None:
            queries_keys = self.qk_norm(queries_keys)
        return queries_keys if context.rotation is None else rotate(queries_keys, context.rotation)

    def _placed(self, x: Tensor, context: BlockContext) -> Tensor:
        return x + context.positions if self.adds_positions else x
