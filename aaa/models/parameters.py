"""What kind each parameter of a model is: which are matrices, and which are several matrices in one."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import nn

# Their weights are tables or scales, however many dimensions they have: no input is multiplied by them as a matrix.
NO_MATRICES = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)


@runtime_checkable
class HasFusedMatrices(Protocol):
    """A module with weights that are several matrices in one, for one product instead of several."""

    def fused_matrices(self) -> Mapping[str, int]:
        """How many matrices, of as many rows each, are stacked in the weight of this name, such as `to_gate.weight`."""
        ...


def fused_matrices(model: nn.Module) -> dict[str, int]:
    """How many matrices each weight stacks that stacks several, by its name in the model."""
    return {
        f"{place}.{name}" if place else name: number
        for place, module in model.named_modules()
        if isinstance(module, HasFusedMatrices)
        for name, number in module.fused_matrices().items()
    }


def matrices(model: nn.Module) -> set[str]:
    """Names of the weights that an input is multiplied by.

    What is left are biases, scales of norms, gates and residuals, and tables of learned vectors: positions, registers,
    embeddings.
    """
    names = set()
    for name, parameter in model.named_parameters():
        place, _, own = name.rpartition(".")
        is_table = isinstance(model.get_submodule(place), NO_MATRICES)
        if parameter.ndim >= 2 and own.endswith("weight") and not is_table:
            names.add(name)
    return names
