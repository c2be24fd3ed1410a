"""What a CUDA graph of a step would not do again: what is decided in Python or on the CPU, other at each step."""

from typing import Protocol, runtime_checkable

from torch import nn

from aaa.models.forward import draws_while_training

# Whose modules compute on the device alone, the same way at each step.
KNOWN = ("torch.", "aaa.")


@runtime_checkable
class MayBeRecorded(Protocol):
    """An objective that knows whether a step of it, done again by a GPU alone, is the next step.

    Attributes:
        unrecordable: why not, a sentence; None: it is.
    """

    @property
    def unrecordable(self) -> str | None: ...  # noqa: D102


def may_be_recorded(part: object) -> bool:
    """Whether the very class of a part of the loss says so, by `recordable = True`; what inherits says it again."""
    return vars(type(part)).get("recordable") is True


def why_unrecordable(objective: object, model: nn.Module) -> str | None:
    """Why steps of a model must not be recorded, a sentence that names the key; None: they may be."""
    if draws_while_training(model):
        return "the model draws from another seed at each step, as routing does: routing=none."
    for module in model.modules():
        if not f"{type(module).__module__}.".startswith(KNOWN) and not may_be_recorded(module):
            return f"{type(module).__name__}, a part of the model, does not say that it may be (recordable = True)."
    if not may_be_recorded(objective) or not isinstance(objective, MayBeRecorded):
        return f"{type(objective).__name__} does not say that it may be (recordable = True, and MayBeRecorded)."
    return objective.unrecordable
