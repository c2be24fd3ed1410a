"""What happens every so many steps besides training: validation, sample grids, evaluations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from aaa.training.progress import Progress
from aaa.training.signals import Interrupted


@dataclass(frozen=True)
class Callback:
    """Something to do every so many steps, and after the last one.

    Attributes:
        name: tells it from the others, also to a run that goes on.
        every_steps: 0 for never.
        after_step: called with the number of steps taken, by every process.
    """

    name: str
    every_steps: int
    after_step: Callable[[int], None]


def is_due(every_steps: int, step: int, max_steps: int) -> bool:
    """Whether something that comes every so many steps, and after the last, comes after this one."""
    return every_steps > 0 and (step % every_steps == 0 or step == max_steps)


def run_pending(callbacks: Sequence[Callback], progress: Progress, model: nn.Module) -> None:
    """Give those that are due their turns, until a signal ends one of them; the others stay pending."""
    for callback in callbacks:
        if callback.name in progress.unlooked:
            try:
                callback.after_step(progress.step)
            except Interrupted:
                break
            finally:
                model.train()
            progress.unlooked.remove(callback.name)
