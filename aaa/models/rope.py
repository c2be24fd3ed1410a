"""Rotary positions (RoFormer, Su et al. 2021, arXiv 2104.09864), of two axes: half of each head turns by row, half by
column (Heo et al. 2024, arXiv 2403.13298, equation 9).

Queries and keys are turned by angles that grow with their place, so that the product of a query at p and a key at q
depends on p - q alone (RoFormer, equation 16).

Words have one axis and turn on both: word l stands on the diagonal that leaves the picture at its far corner, at row
and column `side + l` (MSRoPE, Qwen-Image 2025, arXiv 2508.02324, where it leaves from the middle).
Among words that is RoFormer's rotation of one axis, each of its frequencies used for two pairs, and to every latent of
the picture each word stands at another place.
"""

from typing import Any

import torch
from torch import Tensor

from aaa.models.token_rows import as_rows, crossing, from_rows, has_narrow_heads

BASE = 10_000.0  # the slowest pair of an axis turns about this many times slower than the fastest


def rotation(height: int, width: int, other_tokens: int, head_dim: int, grid: int, device: torch.device) -> Tensor:
    """How far each token turns: cosines and sines, `2 N head_dim/2` float32, of latents row by row, then of others.

    Pictures of any size cover the same area of `grid` x `grid` places (Chen et al. 2023, arXiv 2306.15595): one that is
    drawn larger than those trained on is sampled more densely, not beyond what was seen. Other tokens do not turn.

    Args:
        height, width: of the latents.
        other_tokens: that come after them.
        head_dim: width of a head, a multiple of 4.
        grid: side of a square picture of which neighbours are 1 apart.
        device: of the result.
    """
    places, frequencies = _spacing(height, width, grid), _frequencies(head_dim, device)
    rows, columns = (places * torch.arange(size, device=device)[:, None] * frequencies for size in (height, width))
    shape = (height, width, head_dim // 4)
    angles = torch.cat([rows[:, None].expand(shape), columns.expand(shape)], dim=-1).flatten(0, 1)  # H*W head_dim/2
    angles = torch.cat([angles, angles.new_zeros(other_tokens, head_dim // 2)])
    return torch.stack([angles.cos(), angles.sin()])


def of_words(height: int, width: int, words: int, head_dim: int, grid: int, device: torch.device) -> Tensor:
    """How far each word turns: cosines and sines, `2 words head_dim/2` float32.

    Args:
        height, width, grid: of the latents, as in `rotation`, with which they are seen together.
        words: tokens of the prompt.
        head_dim: width of a head, a multiple of 4.
        device: of the result.
    """
    corner = max(height, width) * _spacing(height, width, grid)
    places = corner + torch.arange(words, device=device)
    angles = (places[:, None] * _frequencies(head_dim, device)).repeat(1, 2)  # words head_dim/2
    return torch.stack([angles.cos(), angles.sin()])


def unturned(tokens: int, head_dim: int, device: torch.device) -> Tensor:
    """Cosines and sines of no turn at all, `2 tokens head_dim/2` float32."""
    # Numbers made on a GPU, not sent there, which would wait for it.
    return torch.stack(
        [torch.ones(tokens, head_dim // 2, device=device), torch.zeros(tokens, head_dim // 2, device=device)]
    )


def _spacing(height: int, width: int, grid: int) -> float:
    """How far neighbours among `height * width` latents are apart."""
    return grid / (height * width) ** 0.5


def _frequencies(head_dim: int, device: torch.device) -> Tensor:
    """Of the pairs of an axis, `head_dim/4`."""
    return BASE ** -(torch.arange(head_dim // 4, device=device) / (head_dim // 4))


def rotate(x: Tensor, cos_sin: Tensor) -> Tensor:
    """Turn each pair of numbers (i of the first half of a head, i of the second) by its token's angles.

    Args:
        x: `... N head_dim`.
        cos_sin: `2 N head_dim/2`, as `rotation` gives them, or `2 B 1 N head_dim/2`, of each sample its own.
    """
    cos, sin = cos_sin.to(x.dtype)
    if torch.compiler.is_compiling():
        one, other = x.chunk(2, dim=-1)
        return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)
    turned: Tensor = (_RotateRows if has_narrow_heads(x) else _Rotate).apply(x, cos, sin)
    return turned


class _Rotate(torch.autograd.Function):
    """The same in half the passes over memory, which are what it takes where nothing is compiled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad_out, cos, -sin), None, None  # back again


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned = torch.empty_like(x)
    one, other = x.chunk(2, dim=-1)
    for half, along, across, sign in ((0, one, other, -1), (1, other, one, 1)):
        out = turned.chunk(2, dim=-1)[half]
        torch.mul(along, cos, out=out).addcmul_(across, sin, value=sign)
    return turned


class _RotateRows(torch.autograd.Function):
    """The same, to the bit, of queries and keys as rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        kinds, _, heads, _, head_dim = x.shape
        cos, sin = (_of_rows(part, kinds * heads) for part in (cos, sin))
        ctx.save_for_backward(cos, sin)
        ctx.crossing = crossing(head_dim, x.dtype)
        return _turned_rows(x, cos, sin, ctx.crossing)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned_rows(grad_out, cos, -sin, ctx.crossing), None, None


def _of_rows(part: Tensor, heads: int) -> Tensor:
    """Cosines or sines, `N head_dim/2` or `B 1 N head_dim/2`, for each number of a row: `N ...` or `B N ...`."""
    of_sample = part.squeeze(1) if part.ndim == 4 else part
    return torch.cat([of_sample, of_sample] * heads, dim=-1)


def _turned_rows(x: Tensor, cos: Tensor, sin: Tensor, across: Tensor) -> Tensor:
    rows = as_rows(x)
    crossed = (rows.unflatten(-1, (-1, len(across))) @ across).flatten(2)
    return from_rows((rows * cos).addcmul_(crossed, sin), x.shape)
