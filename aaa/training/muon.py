"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before they are added to the weights."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon

from aaa.training.owners import Owners
from aaa.training.precision import multiplies_bf16
from aaa.training.sharding import local, shard_group


class BatchedMuon(Muon):
    """torch's Muon with all matrices of one shape orthogonalised together.

    The same update, in a third of the time for a small model: its matrices are too small to be worth a kernel
    each.
    """

    # How many matrices, of as many rows each, a weight stacks; of those that are not here, one.
    stacked: Mapping[Tensor, int] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        if closure is not None:
            raise ValueError("BatchedMuon takes no closure")
        for group in self.param_groups:
            weights: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, weights, gradients, momenta)
            momentum = group["momentum"]
            own_weights, own_gradients, own_momenta = (list(map(local, of)) for of in (weights, gradients, momenta))
            torch._foreach_lerp_(own_momenta, own_gradients, 1 - momentum)
            updates = own_momenta
            if group["nesterov"]:
                updates = list(torch._foreach_lerp(own_gradients, own_momenta, momentum))
            torch._foreach_mul_(own_weights, 1 - group["lr"] * group["weight_decay"])
            updates = self._orthogonalised(weights, updates, group)
            for weight, own_weight, update in zip(weights, own_weights, updates, strict=True):
                rows, columns = weight.shape
                # "match_rms_adamw" of torch's Muon: the size of an AdamW update (Liu et al. 2025, equation 4).
                longest = max(rows // self.stacked.get(weight, 1), columns)
                rate = group["lr"] * 0.2 * longest**0.5
                if isinstance(rate, Tensor):  # a CUDA graph is told another one each time
                    own_weight.sub_(rate * update.float())
                else:
                    own_weight.add_(update, alpha=-rate)

    def _orthogonalised(self, weights: list[Tensor], updates: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        """The updates made orthogonal; where their rows are divided over processes, each whole one by its owner."""
        parts = [self.stacked.get(weight, 1) for weight in weights]
        work = partial(_by_parts, coefficients=group["ns_coefficients"], steps=group["ns_steps"], eps=group["eps"])
        processes = shard_group(weights)
        if processes is None:
            return work(updates, parts)
        owners = Owners([weight.shape for weight in weights], processes)
        owned_parts = [parts[index] for index in owners.own]
        return owners.apply(lambda matrices: work(matrices, owned_parts), updates)


def _by_parts(
    matrices: Sequence[Tensor],
    parts: Sequence[int],
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
) -> list[Tensor]:
    """Each matrix made orthogonal in so many parts: what it stacks are matrices of their own (CMuon, 2608.02502)."""
    pieces = [piece for matrix, number in zip(matrices, parts, strict=True) for piece in matrix.chunk(number)]
    made = iter(orthogonalise(pieces, coefficients, steps, eps))
    return [torch.cat([next(made) for _ in range(number)]) if number > 1 else next(made) for number in parts]


def orthogonalise(
    matrices: Sequence[Tensor], coefficients: tuple[float, float, float], steps: int, eps: float
) -> list[Tensor]:
    """The nearest orthogonal matrix to each, roughly, by Newton-Schulz iterations (Jordan et al. 2024).

    They need no more precision than bf16 has, and are made in it wherever the device is quick at that. Matrices of one
    shape, or of its transpose, are stacked and share their matrix products: all of them on a GPU, on a CPU no more than
    its cache holds.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, matrix in enumerate(matrices):
        by_shape.setdefault((min(matrix.shape), max(matrix.shape)), []).append(index)
    results: list[Tensor] = list(matrices)
    a, b, c = coefficients
    stacked = (2**28 if matrices[0].is_cuda else 2**20) if matrices else 1  # numbers
    stacks = [
        indices[start : start + max(1, stacked // math.prod(shape))]
        for shape, indices in by_shape.items()
        for start in range(0, len(indices), max(1, stacked // math.prod(shape)))
    ]
    for indices in stacks:
        tall = [matrices[index].shape[0] > matrices[index].shape[1] for index in indices]
        x = torch.stack([matrices[i].T if t else matrices[i] for i, t in zip(indices, tall, strict=True)])
        x = x.bfloat16() if multiplies_bf16(x.device) else x.float()  # n rows columns, rows <= columns
        x /= x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
        # A product of stacks of one matrix is slower on a CPU than a product of matrices.
        x, multiply_add = (x[0], torch.addmm) if len(x) == 1 else (x, torch.baddbmm)
        for _ in range(steps):
            gram = x @ x.mT
            gram = multiply_add(gram, gram, gram, beta=b, alpha=c)
            x = multiply_add(x, gram, x, beta=a)
        x = x.view(len(indices), *x.shape[-2:])
        for position, (index, transposed) in enumerate(zip(indices, tall, strict=True)):
            results[index] = x[position].T if transposed else x[position]
    return results
