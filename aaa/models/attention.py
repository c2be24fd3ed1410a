"""Softmax attention by the fastest routine for the device and the dtype.

On a GPU that is torch's choice (FlashAttention and its like). Training in bf16 on a CPU, torch's fused backward takes
several times as long as the same matrix products one after the other, done a few heads at a time so that their scores
stay in the cache. Forward and backward in ms on 2 cores with AMX (torch 2.15), samples x heads x tokens x head width:

| | torch's fused | plain products | in blocks |
| --- | --- | --- | --- |
| 32 x 2 x 80 x 64 | 7.7 | 1.7 | 2.6 |
| 8 x 32 x 384 x 32 | 103 | 125 | 64 |
| 4 x 16 x 1152 x 64 | 204 | 300 | 167 |

Forward alone, as pictures are drawn, plain products take 0.35 to 0.45 of the fused routine's time where tokens are few
(78 of them, 32 or 64 samples of 8 heads of 16; one thread of an AMD EPYC), a whole model 0.8 to 0.85.

torch's softmax of bf16 takes rows 32 numbers at a time and what is left over one by one, so that there, in rows that
are not long, a detour by float32 is the shorter way: 0.55 of the time for 78 tokens, 0.68 for 80, 0.83 for 150, 1.0 for
200. Shorter still is to fill rows up where they lack little: attention of 30 tokens takes 0.8 of the time with keys and
values of 2 more that no query looks at. Of rows of less than 32 numbers the gradient is taken one by one throughout, in
six times as long as by float32.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# A block has about this many scores; up to twice as many in all are not worth splitting.
CACHED_SCORES = 4 * 2**20
# Scores that bf16's softmax takes at once, and the length from which on it does not matter what is left over.
AT_ONCE, LONG = 32, 200
# A row that lacks no more than this share of its length is filled up: products have that much more to do.
FILLED = 1 / 8


def attend(q: Tensor, k: Tensor, v: Tensor, attended: Tensor | None = None) -> Tensor:
    """Softmax attention without dropout, `B heads N head_dim` each.

    Args:
        q, k, v: queries, keys and values.
        attended: which keys count, bool, `B 1 1 N` or `B 1 N N`, one at least for each query; None: all.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.numel():  # prompts may all be empty
        if q.requires_grad:
            if has_few_scores(q, k):
                return _KeepingWeights.apply(q, k, v, attended)
            if attended is None:
                return _BlockwiseBackward.apply(q, k, v)
        elif k.shape[-2] < LONG:  # how it is rounded does not depend on how many samples there are
            return _few_samples_at_once(q, k, v, attended)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attended)


def has_few_scores(q: Tensor, k: Tensor) -> bool:
    """Whether the scores of these queries and keys, `B heads N head_dim`, are not worth splitting."""
    return q[..., 0].numel() * k.shape[-2] <= 2 * CACHED_SCORES


def plain_products(
    q: Tensor, k: Tensor, v: Tensor, softmax: Callable[[Tensor], Tensor], attended: Tensor | None = None
) -> Tensor:
    """Attention of all heads at once, with a softmax over the last dimension."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT  # B heads N N
    if attended is not None:
        scores = scores.masked_fill(~attended, -torch.inf)
    return softmax(scores) @ v


def _few_samples_at_once(q: Tensor, k: Tensor, v: Tensor, attended: Tensor | None) -> Tensor:
    """The same without gradients."""
    count = max(1, 2 * CACHED_SCORES // (q.shape[1] * q.shape[2] * k.shape[2]))
    parts = list(zip(q.split(count), k.split(count), v.split(count), strict=True))
    masks = [None] * len(parts) if attended is None else attended.expand(len(q), -1, -1, -1).split(count)
    made = [plain_products(q, k, v, softmax, mask) for (q, k, v), mask in zip(parts, masks, strict=True)]
    return torch.cat(made)


def softmax(scores: Tensor) -> Tensor:
    """Over the last dimension, in float32 and rounded at the end, as torch's of bf16 is too."""
    length = scores.shape[-1]
    if scores.dtype != torch.bfloat16 or length % AT_ONCE == 0 or length >= LONG:
        return scores.softmax(dim=-1)
    return scores.float().softmax(dim=-1).to(scores.dtype)


def softmax_backward(grad_weights: Tensor, weights: Tensor) -> Tensor:
    """The gradient of scores from that of their softmax."""
    dtype = weights.dtype
    if dtype != torch.bfloat16 or weights.shape[-1] >= AT_ONCE:
        return torch._softmax_backward_data(grad_weights, weights, -1, dtype)
    grad_scores = torch._softmax_backward_data(grad_weights.float(), weights.float(), -1, torch.float32)
    return grad_scores.to(dtype)


def filled_length(length: int) -> int:
    """How many scores a row gets that has so many."""
    most = -(-length // AT_ONCE) * AT_ONCE
    return most if most - length <= FILLED * length and length < LONG else length


class _KeepingWeights(torch.autograd.Function):
    """Plain products of all heads, forward and backward; the backward pass is in bf16 however scores were made."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, attended: Tensor | None) -> Tensor:
        shape, length = q.shape, k.shape[-2]
        q = torch.mul(q, q.shape[-1] ** -0.5, out=q.new_empty(shape)).flatten(0, 1)
        k, v = (_filled_up(x, filled_length(length)) for x in (k, v))
        scores = torch.bmm(q, k.mT)  # B*heads N, and as many as keys are filled up to
        scores[..., length:] = -torch.inf
        if attended is not None:
            scores.view(*shape[:-1], -1)[..., :length].masked_fill_(~attended, -torch.inf)
        weights = softmax(scores)
        ctx.save_for_backward(q, k, v, weights)
        ctx.length = length
        return torch.bmm(weights, v).view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        shape = grad_out.shape
        grad_out = grad_out.reshape(q.shape)
        grad_v = torch.bmm(weights.mT, grad_out)
        grad_scores = softmax_backward(torch.bmm(grad_out, v.mT), weights)
        grad_q = torch.bmm(grad_scores, k).mul_(shape[-1] ** -0.5)
        grad_k = torch.bmm(grad_scores.mT, q)
        grad_k, grad_v = (x.unflatten(0, shape[:2])[:, :, : ctx.length] for x in (grad_k, grad_v))
        return grad_q.view(shape), grad_k, grad_v, None


def _filled_up(x: Tensor, length: int) -> Tensor:
    """`B heads N head_dim` as `B*heads length head_dim`, with zeros behind."""
    batch, heads, tokens, width = x.shape
    if tokens == length:
        return x.reshape(batch * heads, tokens, width)
    filled = x.new_zeros(batch, heads, length, width)
    filled[:, :, :tokens] = x
    return filled.flatten(0, 1)


class _BlockwiseBackward(torch.autograd.Function):
    """torch's fused forward, which is fast and keeps no scores, and a backward that makes them again block by block."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return F.scaled_dot_product_attention(q, k, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, ...]:
        shapes = [x.shape for x in ctx.saved_tensors]
        scale = shapes[0][-1] ** -0.5
        q, k, v, grad_out = (x.reshape(-1, *x.shape[-2:]) for x in (*ctx.saved_tensors, grad_out))
        q = q * scale  # B*heads N head_dim
        grads = grad_q, grad_k, grad_v = tuple(map(torch.empty_like, (q, k, v)))
        block = max(1, CACHED_SCORES // (q.shape[-2] * k.shape[-2]))
        for start in range(0, len(q), block):
            b = slice(start, start + block)
            weights = softmax(torch.bmm(q[b], k[b].mT))  # block N N
            torch.bmm(weights.mT, grad_out[b], out=grad_v[b])
            grad_scores = softmax_backward(torch.bmm(grad_out[b], v[b].mT), weights)
            torch.bmm(grad_scores, k[b], out=grad_q[b])
            torch.bmm(grad_scores.mT, q[b], out=grad_k[b])
        grad_q *= scale
        return tuple(grad.view(shape) for grad, shape in zip(grads, shapes, strict=True))
