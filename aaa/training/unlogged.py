"""What a training loop has measured and not yet logged, as a checkpoint keeps it."""

from dataclasses import dataclass, field


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
