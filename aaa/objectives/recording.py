"""What a CUDA graph of a step would not do again: what a loss decides in Python or on the CPU, other at each step."""

from typing import Protocol, runtime_checkable

from torch import nn

from aaa.models.forward import draws_while_training
from aaa.objectives.flow_matching import Objective


@runtime_checkable
class MayBeRecorded(Protocol):
    """An objective that knows whether a step of it, done again by a GPU alone, is the next step.

    Attributes:
        unrecordable: why not, a sentence; None: it is.
    """

    @property
    def unrecordable(self) -> str | None: ...  # noqa: D102


def why_unrecordable(objective: Objective, model: nn.Module) -> str | None:
    """Why steps of a model must not be recorded, a sentence that names the key; None: they may be."""
    if draws_while_training(model):
        return "the model draws from another seed at each step, as routing does: routing=none."
    if not isinstance(objective, MayBeRecorded):
        return f"{type(objective).__name__} does not say that it may be (MayBeRecorded)."
    return objective.unrecordable
