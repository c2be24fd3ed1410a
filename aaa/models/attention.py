"""Softmax attention by the fastest routine for the device and the dtype.

On a GPU that is torch's choice (FlashAttention and its like). Training in bf16 on a CPU, torch's fused backward takes
several times as long as the same matrix products one after the other, done a few heads at a time so that their scores
stay in the cache. Forward and backward in ms on 2 cores with AMX (torch 2.15), samples x heads x tokens x head width:

| | torch's fused | plain products | in blocks |
| --- | --- | --- | --- |
| 32 x 2 x 80 x 64 | 7.7 | 1.7 | 2.6 |
| 8 x 32 x 384 x 32 | 103 | 125 | 64 |
| 4 x 16 x 1152 x 64 | 204 | 300 | 167 |

torch's softmax of bf16 takes rows 32 numbers at a time and what is left over one by one: a third of a step's attention
for the 78 tokens of the default run, and more than any product. Between plain products it is taken apart instead:
exponentials of all scores at once, and the division by their sums where there are fewer numbers, after the product.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# A block has about this many scores; up to twice as many in all are not worth splitting.
CACHED_SCORES = 4 * 2**20
# Exponentials of scores of this size, their sums and what they are multiplied with are far from bf16's bounds.
SAFE_SCORE = 40.0
# Scores that bf16's softmax takes at once, and the length from which on it does not matter what is left over.
AT_ONCE, LONG = 32, 200


def attend(q: Tensor, k: Tensor, v: Tensor, attended: Tensor | None = None) -> Tensor:
    """Softmax attention without dropout, `B heads N head_dim` each.

    Args:
        q, k, v: queries, keys and values.
        attended: which keys count, bool, `B 1 1 N` or `B 1 N N`; None: all.
    """
    if attended is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attended)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad:
        batch, heads, tokens, width = q.shape
        if batch * heads * tokens**2 > 2 * CACHED_SCORES:
            return _BlockwiseBackward.apply(q, k, v)
        if torch.compiler.is_compiling():  # which makes one kernel of a softmax
            return ((q * width**-0.5) @ k.transpose(-1, -2)).softmax(dim=-1) @ v
        return _PlainProducts.apply(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


class _PlainProducts(torch.autograd.Function):
    """Attention by products of all heads at once, softmax taken apart.

    With `e` the exponentials and `s` the sums of their rows, `out = (e v) / s`. Backward, `gradient of scores =
    e * (g' v^T - rowsum(g' * out))` where `g' = g / s`: the subtraction rides along in the product, as further columns.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.shape, ctx.scale = q.shape, q.shape[-1] ** -0.5
        q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (q * ctx.scale, k, v))  # B*heads N head_dim
        exponentials, sums = exponentials_of(torch.bmm(q, k.mT))
        out = torch.bmm(exponentials, v).div_(sums)
        ctx.save_for_backward(q, k, v, exponentials, sums, out)
        return out.view(ctx.shape)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, exponentials, sums, out = ctx.saved_tensors
        grad_out = (grad_out.reshape(out.shape) / sums).to(out.dtype)
        subtracted = (grad_out.to(sums.dtype) * out).sum(dim=-1, keepdim=True).neg_()
        rounded = subtracted.to(out.dtype)
        ones = torch.ones_like(v[..., :1])
        left = torch.cat([grad_out, rounded, (subtracted - rounded).to(out.dtype)], dim=-1)
        grad_scores = torch.bmm(left, torch.cat([v, ones, ones], dim=-1).mT).mul_(exponentials)
        grad_q, grad_k = torch.bmm(grad_scores, k).mul_(ctx.scale), torch.bmm(grad_scores.mT, q)
        grad_v = torch.bmm(exponentials.mT, grad_out)
        return grad_q.view(ctx.shape), grad_k.view(ctx.shape), grad_v.view(ctx.shape)


def exponentials_of(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores `... N N`, which may be overwritten, and the sums of their rows, `... N 1`.

    Where scores are so large that these might not be numbers, each row is divided by its sum already.
    """
    least, most = scores.aminmax()
    exponentials = scores.exp_() if least > -SAFE_SCORE and most < SAFE_SCORE else softmax(scores)
    accurate = torch.promote_types(scores.dtype, torch.float32)
    return exponentials, exponentials.sum(dim=-1, keepdim=True, dtype=accurate)


def softmax(scores: Tensor) -> Tensor:
    """Over the last dimension, in float32 and rounded at the end, as torch's of bf16 is too."""
    length = scores.shape[-1]
    if scores.dtype != torch.bfloat16 or length % AT_ONCE == 0 or length >= LONG:
        return scores.softmax(dim=-1)
    return scores.float().softmax(dim=-1).to(scores.dtype)


class _BlockwiseBackward(torch.autograd.Function):
    """torch's fused forward, which is fast and keeps no scores, and a backward that makes them again block by block."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return F.scaled_dot_product_attention(q, k, v)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = ctx.saved_tensors[0].shape
        tokens, width = shape[-2:]
        scale = width**-0.5
        q, k, v, grad_out = (x.reshape(-1, tokens, width) for x in (*ctx.saved_tensors, grad_out))  # B*heads N head_dim
        q = q * scale
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
        block = max(1, CACHED_SCORES // tokens**2)
        for start in range(0, len(q), block):
            b = slice(start, start + block)
            weights = softmax(torch.bmm(q[b], k[b].mT))  # block N N
            torch.bmm(weights.mT, grad_out[b], out=grad_v[b])
            grad_weights = torch.bmm(grad_out[b], v[b].mT)
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            torch.bmm(grad_scores, k[b], out=grad_q[b])
            torch.bmm(grad_scores.mT, q[b], out=grad_k[b])
        return (grad_q * scale).view(shape), grad_k.view(shape), grad_v.view(shape)
