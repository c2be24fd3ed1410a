"""Optimizers by their configs. Each takes `(name, parameter)` pairs, as torch's own optimizers do.

Any `torch.optim` class works too: `_target_: torch.optim.SGD`, `lr: 0.1`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from aaa.training.precision import multiplies_bf16

NamedParameters = Iterable[tuple[str, nn.Parameter]]


def adamw(
    named_parameters: NamedParameters,
    learning_rate: float,
    weight_decay: float,
    betas: Sequence[float],
) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019), one fused kernel a step where the device has it."""
    parameters = [parameter for _, parameter in named_parameters]
    first, second = betas
    return AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=(first, second), fused=True)


class BatchedMuon(Muon):
    """torch's Muon with all matrices of one shape orthogonalised together.

    The same update, in a third of the time for a small model: its matrices are too small to be worth a kernel
    each.
    """

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
            torch._foreach_lerp_(momenta, gradients, 1 - momentum)
            updates = torch._foreach_lerp(gradients, momenta, momentum) if group["nesterov"] else momenta
            updates = orthogonalise(updates, group["ns_coefficients"], group["ns_steps"], group["eps"])
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            for weight, update in zip(weights, updates, strict=True):
                # "match_rms_adamw" of torch's Muon: the size of an AdamW update (Liu et al. 2025, equation 4).
                weight.add_(update, alpha=-group["lr"] * 0.2 * max(weight.shape) ** 0.5)


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


class MuonWithAdamW(Optimizer):
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate serves both.

    Args:
        named_parameters: all of the model's.
        learning_rate: of both.
        weight_decay: of both, decoupled.
        momentum: Muon's, Nesterov.
        betas: AdamW's.
    """

    def __init__(
        self,
        named_parameters: NamedParameters,
        learning_rate: float,
        weight_decay: float,
        momentum: float,
        betas: Sequence[float],
    ) -> None:
        named = list(named_parameters)
        matrices = [parameter for name, parameter in named if ".blocks." in f".{name}" and parameter.ndim == 2]
        chosen = {id(parameter) for parameter in matrices}
        others = [(name, parameter) for name, parameter in named if id(parameter) not in chosen]
        self._muon = BatchedMuon(
            matrices,
            lr=learning_rate,
            weight_decay=weight_decay,
            momentum=momentum,
        )
        self._adamw = adamw(others, learning_rate, weight_decay, betas)
        super().__init__([parameter for _, parameter in named], {})
        # Schedules and checkpoints reach both through the groups that they share with this one.
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        if closure is not None:
            raise ValueError("MuonWithAdamW takes no closure")
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of both, by name."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of its next step."""
    return float(optimizer.param_groups[0]["lr"])
