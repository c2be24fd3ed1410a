"""Random numbers that a compiled model draws outside its graphs.

Who needs them imports this where they are drawn: `torch.compiler.disable` imports the compiler, which takes longer than
a small model takes to draw a picture.
"""

import torch
from torch import Tensor

from aaa.data.randomness import generator


@torch.compiler.disable
def uniform(draws: torch.Generator, purpose: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers in 0..1, float32.

    Args:
        draws: its seed is that of the draw, for this purpose; it is not advanced.
        purpose: what they are for, so that no two draws are alike.
        shape, device: of the result.
    """
    own = generator(draws.initial_seed(), purpose, device=device)
    return torch.rand(shape, generator=own, device=device)
