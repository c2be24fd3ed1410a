"""How far a run is, and what was measured since the last row of metrics, in memory and as a checkpoint keeps it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass  # not frozen: OmegaConf would not fill it
class UnloggedNumbers:
    """What was measured of the steps since the last row of metrics, so that the run that goes on can log that row.

    Attributes:
        steps: those that were taken.
        losses, grad_norms: a number of each.
        count: of steps, skipped ones included.
        seconds, busy_seconds: of all these steps, and of that in the model and the optimizer.
        terms: of the loss, by name, where there are several: a number of each step.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    count: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0
    terms: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Window:
    """What was measured since metrics were last logged; tensors stay on the device until then.

    Attributes:
        steps: those that were taken.
        losses, grad_norms: a number of each step.
        terms: of the loss, by name, where there are several: a number of each step.
        sample_losses: of each step, those of this process's samples; empty for steps of an earlier process.
        count: of steps, those that were skipped included.
        seconds, busy_seconds: of all these steps, and of that in the model and the optimizer.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    grad_norms: list[Tensor] = field(default_factory=list)
    terms: dict[str, list[Tensor]] = field(default_factory=dict)
    sample_losses: list[Tensor] = field(default_factory=list)
    count: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0

    def numbers(self) -> UnloggedNumbers:
        """What a resumed run needs to log the very row that this one would have logged."""
        return UnloggedNumbers(
            list(self.steps),  # a checkpoint may be written while further steps are taken
            [loss.item() for loss in self.losses],
            [norm.item() for norm in self.grad_norms],
            self.count,
            self.seconds,
            self.busy_seconds,
            {name: [value.item() for value in values] for name, values in self.terms.items()},
        )

    @classmethod
    def of(cls, numbers: UnloggedNumbers, device: torch.device) -> "Window":
        """The window that `numbers` came from, as far as they tell."""

        def on_device(values: list[float]) -> list[Tensor]:
            return [torch.tensor(value, device=device) for value in values]

        return cls(
            list(numbers.steps),
            on_device(numbers.losses),
            on_device(numbers.grad_norms),
            {name: on_device(values) for name, values in numbers.terms.items()},
            [torch.empty(0, device=device) for _ in numbers.steps],
            numbers.count,
            numbers.seconds,
            numbers.busy_seconds,
        )


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps taken, or skipped.
        seconds: spent training, over all resumes, without validation, pictures and checkpoints.
        skipped_steps: left out because their gradient was not finite.
        unlooked: names of callbacks that were due at this step and have not had their turn.
        window: measured since the last row of metrics.
        samples: of these steps; the place in the data order where the next step begins.
    """

    step: int = 0
    seconds: float = 0.0
    skipped_steps: int = 0
    unlooked: list[str] = field(default_factory=list)
    window: Window = field(default_factory=Window)
    samples: int = 0
