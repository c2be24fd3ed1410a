"""Steps that went wrong or stand out: what is known of them, so that they can be traced to records."""

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Literal

HISTORY = 200  # steps that a loss is compared with
LEAST_HISTORY = 50
DEVIATIONS = 10.0  # from the median, in median absolute deviations


@dataclass(frozen=True)
class Anomaly:
    """A step worth knowing about.

    Attributes:
        kind: what is odd about it.
        step: its number, 1 for the first.
        loss: mean over its samples.
        grad_norm: before clipping.
        sample_losses: of each process, its samples in the order of their micro-batches.
    """

    kind: Literal["not finite", "skipped", "spike"]
    step: int
    loss: float
    grad_norm: float
    sample_losses: list[list[float]]


class Spikes:
    """Tells losses that stand out from those of the steps before."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=HISTORY)

    def is_spike(self, loss: float) -> bool:
        """Whether a step's loss is far above the recent ones, which it joins."""
        spike = False
        if len(self._recent) >= LEAST_HISTORY:
            middle = median(self._recent)
            deviation = median(abs(value - middle) for value in self._recent)
            spike = loss > middle + DEVIATIONS * deviation
        self._recent.append(loss)
        return spike
