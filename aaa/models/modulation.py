"""What the timestep does to the two branches of a block, attention and MLP.

Each is `x + gate * f(scale * norm(x) + shift)`, and here are the ways to make gate, scale and shift of the timestep.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Branch(NamedTuple):
    """Gate, scale and shift of one branch, `B 1 D` each; None leaves out what it would multiply or add."""

    gate: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None

    def enter(self, x: Tensor) -> Tensor:
        """What the branch is given, of normalised tokens `B N D`."""
        return x if self.scale is None or self.shift is None else torch.addcmul(self.shift, x, self.scale)

    def leave(self, x: Tensor) -> Tensor:
        """What is added to the tokens, of what the branch makes, `B N D`."""
        return x if self.gate is None else x * self.gate


class Gates(nn.Linear):
    """The tutorial's: `1 + gate` for each branch, straight from the timestep's embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 2 * dim)

    def branches(self, timestep_emb: Tensor, shared: Tensor | None) -> tuple[Branch, Branch]:  # noqa: ARG002
        """For attention and MLP, from the timestep's embedding, `B D`."""
        attention, mlp = self(timestep_emb)[:, None].chunk(2, dim=-1)  # B 1 D each
        return Branch(1 + attention), Branch(1 + mlp)

    def fused_matrices(self) -> dict[str, int]:
        """One for each branch."""
        return {"weight": 2}

    def init_weights(self) -> None:
        """Gates of 1 (the idea of adaLN-Zero)."""
        nn.init.zeros_(self.weight)


class AdaLN(nn.Linear):
    """adaLN-Zero (DiT, Peebles and Xie 2023, arXiv 2212.09748, section 3.2): gate, scale and shift for each branch."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 6 * dim)

    def branches(self, timestep_emb: Tensor, shared: Tensor | None) -> tuple[Branch, Branch]:  # noqa: ARG002
        """For attention and MLP, from the timestep's embedding, `B D`."""
        return split(self(F.silu(timestep_emb)))

    def fused_matrices(self) -> dict[str, int]:
        """Gate, scale and shift of each branch."""
        return {"weight": 6}

    def init_weights(self) -> None:
        """Gates of 0: each block passes tokens on as they are."""
        nn.init.zeros_(self.weight)


class SharedAdaLN(nn.Module):
    """adaLN-single (PixArt-alpha, Chen et al. 2023, arXiv 2310.00426, section 2.3): one matrix serves all blocks.

    What it makes of the timestep, each block shifts by a vector of its own.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(6 * dim) / dim**0.5)

    def branches(self, timestep_emb: Tensor, shared: Tensor | None) -> tuple[Branch, Branch]:  # noqa: ARG002
        """For attention and MLP, from what the model's one matrix makes of the timestep, `B 6D`."""
        assert shared is not None
        return split(shared + self.offset)

    def init_weights(self) -> None:
        """Gates of 0, as adaLN-Zero begins."""
        nn.init.zeros_(self.offset)


class NoModulation(nn.Module):
    """Blocks that know nothing of the timestep: it is a token beside the others (DiT, section 3.2, in-context)."""

    def __init__(self, dim: int) -> None:  # noqa: ARG002
        super().__init__()

    def branches(self, timestep_emb: Tensor, shared: Tensor | None) -> tuple[Branch, Branch]:  # noqa: ARG002
        """Nothing for either."""
        return Branch(), Branch()

    def init_weights(self) -> None:
        """There is nothing to start."""


Modulation = Gates | AdaLN | SharedAdaLN | NoModulation
MODULATIONS: dict[str, type[Modulation]] = {
    "gate": Gates,
    "adaln": AdaLN,
    "adaln_shared": SharedAdaLN,
    "none": NoModulation,
}


class SharedModulation(nn.Sequential):
    """The one matrix of adaLN-single, with the SiLU before it: `B D` to `B 6D`."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def fused_matrices(self) -> dict[str, int]:
        """Gate, scale and shift of each branch."""
        return {"1.weight": 6}

    def init_weights(self) -> None:
        """Gates of 0."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


def split(modulation: Tensor) -> tuple[Branch, Branch]:
    """Gate, scale and shift of attention, then of the MLP, from `B 6D`."""
    parts = modulation[:, None].chunk(6, dim=-1)  # B 1 D each
    (gate_attn, scale_attn, shift_attn), (gate_mlp, scale_mlp, shift_mlp) = parts[:3], parts[3:]
    return Branch(gate_attn, 1 + scale_attn, shift_attn), Branch(gate_mlp, 1 + scale_mlp, shift_mlp)
