"""A few numbers that tell whether a text encoder still makes the same embeddings, whatever rounds otherwise."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PROMPT = "A small red circle above two blue squares, on a white ground."
NUMBERS = 16
# Of what they are together. In bfloat16 another device or size of batch moves embeddings by a hundredth or so.
TOLERANCE = 0.1


def probe(embed: Callable[[Sequence[str]], Tensor]) -> list[float]:
    """What becomes of one prompt, projected on random directions (Johnson and Lindenstrauss 1984).

    Args:
        embed: gives embeddings, `B L D`.
    """
    found = embed([PROMPT])[0].detach().flatten().to("cpu", torch.float64).nan_to_num()
    found = found.sign() * found.abs().log1p()  # language models have a few activations that all others vanish beside
    directions = torch.randn(NUMBERS, len(found), generator=torch.Generator().manual_seed(0)).double()
    projected: list[float] = (directions @ found / len(found) ** 0.5).tolist()
    return projected


def same_embeddings(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two probes differ by no more than rounding."""
    if len(one) != len(other):
        return False
    first, second = torch.tensor(one), torch.tensor(other)
    return float((first - second).norm()) <= TOLERANCE * float(max(first.norm(), second.norm()))
