"""Learning-rate schedules: the factor by which the optimizer's learning rate is multiplied at each step.

Each function takes the number of optimizer steps of the whole run and returns step -> factor; steps count from
0 and do not depend on the number of processes. step.py multiplies the rates that the optimizer was made with.
"""

import math
from collections.abc import Callable

from aaa.errors import require_number

Schedule = Callable[[int], float]


def constant(max_steps: int) -> Schedule:  # noqa: ARG001
    """1 at every step."""
    return lambda _: 1.0


def reduced_start(max_steps: int, factor: float, steps: int) -> Schedule:  # noqa: ARG001
    """`factor` for the first `steps` steps, then 1: `torch.optim.lr_scheduler.ConstantLR`, a third for five by default.

    DiffSynth's training task has it, so its first five steps are a third as long as asked for.
    """
    _check("steps", steps, factor=factor)
    return lambda step: factor if step < steps else 1.0


def warmup_constant(max_steps: int, warmup_steps: int) -> Schedule:  # noqa: ARG001
    """A linear rise over `warmup_steps`, then 1."""
    _check("warmup_steps", warmup_steps)
    return lambda step: _rise(step, warmup_steps)


def warmup_cosine(max_steps: int, warmup_steps: int, final_fraction: float) -> Schedule:
    """A linear rise, then half a cosine to `final_fraction` at the last step."""
    _check("warmup_steps", warmup_steps, final_fraction=final_fraction)

    def factor(step: int) -> float:
        progress = _clip((step - warmup_steps) / max(max_steps - 1 - warmup_steps, 1))
        return _rise(step, warmup_steps) * (
            final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2
        )

    return factor


def warmup_stable_decay(max_steps: int, warmup_steps: int, decay_fraction: float, final_fraction: float) -> Schedule:
    """A linear rise, then 1, then over the last `decay_fraction` of the run a linear fall to `final_fraction`.

    The last step has that, however short the fall.
    """
    _check("warmup_steps", warmup_steps, final_fraction=final_fraction, decay_fraction=decay_fraction)

    def factor(step: int) -> float:
        decay_steps = max(decay_fraction * max_steps, 1)
        progress = _clip((step - (max_steps - 1 - decay_steps)) / decay_steps)
        return _rise(step, warmup_steps) * (1 - (1 - final_fraction) * progress)

    return factor


def _rise(step: int, warmup_steps: int) -> float:
    return min((step + 1) / max(warmup_steps, 1), 1.0)


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _check(key: str, steps: int, **fractions: float) -> None:
    require_number(f"lr_scheduler.{key}", steps, least=0)
    for name, value in fractions.items():
        require_number(f"lr_scheduler.{name}", value, least=0, most=1)
