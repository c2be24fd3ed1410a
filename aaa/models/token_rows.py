"""Queries and keys as their projection lays them out in memory: for each token one row of all its heads.

Where heads are narrow, what is done head by head, or half of a head by half, is done to a few numbers at a time, which
in bf16 a CPU takes one by one. Over whole rows it is vectors of 32. What crosses from place to place within a head, or
sums over one, is a product with a small matrix of zeros and ones. Forward and backward in ms on one thread (AMD EPYC,
torch 2.15), samples x tokens x heads x head width:

| | rotation | normalised queries and keys |
| --- | --- | --- |
| 32 x 96 x 8 x 16 | 5.8 -> 1.7 | 7.4 -> 2.2 |
| 16 x 96 x 8 x 32 | 4.1 -> 1.7 | 2.7 -> 2.2 |
| 16 x 96 x 4 x 64 | 1.2 -> 3.2 | 2.4 -> 2.1 |

In float32 nothing is gained.
"""

import torch
from torch import Tensor

NARROW = 32


def has_narrow_heads(x: Tensor) -> bool:
    """Whether queries and keys, `K B heads N head_dim`, are the sooner done as rows."""
    return x.ndim == 5 and x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.shape[-1] <= NARROW


def as_rows(x: Tensor) -> Tensor:
    """`K B heads N head_dim` as `B N K*heads*head_dim`; a view where it lies so in memory."""
    return x.permute(1, 3, 0, 2, 4).flatten(2)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """`B N K*heads*head_dim` as a view of this shape, `K B heads N head_dim`."""
    kinds, _, heads, _, head_dim = shape
    return rows.unflatten(2, (kinds, heads, head_dim)).permute(2, 0, 3, 1, 4)


def crossing(head_dim: int, dtype: torch.dtype) -> Tensor:
    """What takes a head `(a, b)`, as a row, to `(-b, a)`: `head_dim head_dim`."""
    one = torch.eye(head_dim // 2, dtype=dtype)
    nothing = torch.zeros_like(one)
    return torch.cat([torch.cat([nothing, one], dim=1), torch.cat([-one, nothing], dim=1)])


def belonging(heads: int, head_dim: int, dtype: torch.dtype) -> Tensor:
    """Which numbers of a row are a head's: `heads*head_dim heads`, of zeros and ones."""
    return torch.eye(heads, dtype=dtype).repeat_interleave(head_dim, dim=0)
