"""Optimizers by their configs. Each takes `(name, parameter)` pairs, as torch's own optimizers do.

Any `torch.optim` class works too: `_target_: torch.optim.SGD`, `lr: 0.1`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from aaa.errors import UserError, require_one_of
from aaa.training.muon import BatchedMuon
from aaa.training.orthogonal import KINDS
from aaa.training.sharding import is_divided

NamedParameters = Iterable[tuple[str, nn.Parameter]]

FUSED = ("whole", "parts")


@runtime_checkable
class KnowsFusedMatrices(Protocol):
    """An optimizer to which it matters that a weight is several matrices in one."""

    def know_fused_matrices(self, stacked: Mapping[str, int]) -> None:
        """Take note of how many matrices, of as many rows each, the weights of these names stack."""
        ...


def adamw(
    named_parameters: NamedParameters,
    learning_rate: float,
    weight_decay: float,
    betas: Sequence[float],
) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019), one fused kernel a step where the device has it."""
    parameters = [parameter for _, parameter in named_parameters]
    first, second = betas
    return MixedAdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=(first, second), fused=True)


class MixedAdamW(AdamW):
    """torch's AdamW of parameters of which processes divide some, as a model's, and not others, as an objective's.

    Its fused kernel takes either kind, not both at once.
    """

    def step(self, closure: Any = None) -> Any:
        """One step, of each kind by itself."""
        groups = self.param_groups
        self.param_groups = [
            {**group, "params": list(of)}
            for group in groups
            for _, of in groupby(sorted(group["params"], key=is_divided), is_divided)
        ]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups


@runtime_checkable
class ForetellsState(Protocol):
    """An optimizer that keeps more of a parameter than moments of its size."""

    def state_bytes(self, parameter: Tensor) -> int:
        """What it will keep of it."""
        ...


def state_to_come(optimizer: Optimizer, of: Callable[[Tensor], Tensor] = lambda parameter: parameter) -> int:
    """Bytes of what an optimizer makes in its first step: none of one that has it, or does not tell and is not ours.

    Args:
        optimizer: which.
        of: what of each parameter is meant; else all of it, also where processes divide it.
    """
    whole = getattr(optimizer, "optimizer", optimizer)  # without what accelerate wraps it in
    parts = getattr(whole, "optimizers", (whole,))
    return sum(
        _state_bytes(part, of(parameter))
        for part in parts
        for group in part.param_groups
        for parameter in group["params"]
        if parameter not in part.state
    )


def _state_bytes(optimizer: Optimizer, parameter: Tensor) -> int:
    if isinstance(optimizer, ForetellsState):
        return optimizer.state_bytes(parameter)
    moments = 2 if isinstance(optimizer, AdamW) else 1 if isinstance(optimizer, BatchedMuon) else 0
    return moments * parameter.nbytes


class MuonWithAdamW(Optimizer):
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate serves both.

    Args:
        named_parameters: all of the model's.
        learning_rate: of both.
        weight_decay: of both, decoupled.
        momentum: Muon's, Nesterov.
        betas: AdamW's.
        adamw_learning_rate: AdamW's, where it is another.
        fused: how a weight that stacks several matrices is orthogonalised: `whole`, or in its `parts`, each as it would
            be if it were a weight of its own (CMuon, 2608.02502).
        orthogonalisation: `minimax`, or `jordan`, with which Muon began and runs that do not say; see orthogonal.py.

    Raises:
        UserError: if `fused` or `orthogonalisation` is neither, or AdamW's learning rate no number.
    """

    def __init__(
        self,
        named_parameters: NamedParameters,
        learning_rate: float,
        weight_decay: float,
        momentum: float,
        betas: Sequence[float],
        adamw_learning_rate: float | None = None,
        fused: str = "whole",
        orthogonalisation: str = "jordan",
    ) -> None:
        for key, value, known in (("fused", fused, FUSED), ("orthogonalisation", orthogonalisation, KINDS)):
            require_one_of(f"optimizer.{key}", value, known)
        if adamw_learning_rate is not None and not isinstance(adamw_learning_rate, int | float):
            raise UserError(
                f"optimizer.adamw_learning_rate={adamw_learning_rate}: must be a number, such as 0.001, or null: "
                "Muon's own."
            )
        self._fused = fused
        named = list(named_parameters)
        self._matrices = {name: weight for name, weight in named if ".blocks." in f".{name}" and weight.ndim == 2}
        others = [(name, parameter) for name, parameter in named if name not in self._matrices]
        self._muon = BatchedMuon(
            list(self._matrices.values()),
            orthogonalisation,
            lr=learning_rate,
            weight_decay=weight_decay,
            momentum=momentum,
        )
        self._adamw = adamw(
            others, learning_rate if adamw_learning_rate is None else adamw_learning_rate, weight_decay, betas
        )
        if adamw_learning_rate is not None:
            self._adamw.param_groups[0]["name"] = "adamw"
        super().__init__([parameter for _, parameter in named], {})
        self.share_groups()

    @property
    def optimizers(self) -> tuple[Optimizer, Optimizer]:
        """Muon and AdamW."""
        return self._muon, self._adamw

    def share_groups(self) -> None:
        """Make both reachable for schedules and checkpoints, through the groups that they share with this one."""
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def know_fused_matrices(self, stacked: Mapping[str, int]) -> None:
        """Orthogonalise the weights of these names in so many parts, if that is how they are to be.

        Raises:
            ValueError: if the rows of one do not make so many parts.
        """
        own = {name: number for name, number in stacked.items() if name in self._matrices and self._fused == "parts"}
        for name, number in own.items():
            if number < 1 or len(self._matrices[name]) % number:
                raise ValueError(f"{name} has {len(self._matrices[name])} rows, which are not {number} matrices")
        self._muon.stacked = {self._matrices[name]: number for name, number in own.items()}

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
        self.share_groups()
