"""What a budget leaves open: the width of a model of so many parameters, the steps that so much work or time allows."""

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from aaa.assembly.build import build
from aaa.assembly.parts import model_numbers
from aaa.errors import UserError
from aaa.models.costs import count_parameters
from aaa.models.dit import AAADiT
from aaa.run.folder import batch_size_of, max_steps_of, recorded
from aaa.run.going_on import Before
from aaa.training import timing

logger = logging.getLogger(__name__)

TIMED_STEPS = 3
WIDEST = 65_536


def keep_to_parameters(config: DictConfig) -> None:
    """Set `model.dim` so that the model has about `budget.parameters`, at the depth and with the heads it has.

    Raises:
        UserError: if even the narrowest model has more.
    """
    wanted = config.budget.parameters
    if wanted is None:
        return
    numbers = {key: value for key, value in model_numbers(config).items() if key != "dim"}
    make: Callable[..., nn.Module] = AAADiT
    if config.model.get("architecture") is not None:
        make = partial(build, config, "model.architecture")
    count = partial(_parameters, make, numbers)
    rotates = "rope" in (config.model.get("positions"), config.model.get("text_positions"))
    step = math.lcm(8, int(config.model.heads) * (4 if rotates else 1))  # rotations want heads of a multiple of 4
    widths = range(step, WIDEST + step, step)
    place = bisect_left(widths, wanted, key=count)
    near = widths[max(place - 1, 0) : place + 1]
    dim = min(near, key=lambda width: abs(math.log(count(width) / wanted)))
    found = count(dim)
    if dim == step and found > 2 * wanted:
        raise UserError(
            f"budget.parameters={wanted:g}: at model.depth={config.model.depth} model.heads={config.model.heads} even "
            f"the narrowest model, model.dim={dim}, has {found:,}."
        )
    config.model.dim = dim
    logger.info("budget.parameters=%g: model.dim=%d, which makes %s", wanted, dim, f"{found:,}")


def steps_within(
    config: DictConfig,
    earlier: Path | None,
    before: Before | None = None,
    *,
    flops_per_sample: int,
    batch_size: int,
    time_step: Callable[[], float],
) -> int:
    """`trainer.max_steps`, or as many as the budget allows.

    Args:
        config: with `budget.flops`, `budget.seconds` or neither.
        earlier: folder of the run that is resumed or repeated: its steps are taken over where time is the budget.
        before: what that run has behind it where it is gone on with; it counts.
        flops_per_sample: of forward and backward pass.
        batch_size: of a step.
        time_step: finds out how many seconds a step takes.

    Raises:
        UserError: if it does not allow a single step.
    """
    budget = config.budget
    if budget.flops is None and budget.seconds is None:
        return int(config.trainer.max_steps)
    if budget.flops is not None:
        spent, taken = _spent(before, flops_per_sample, batch_size)
        steps = taken + int((budget.flops - spent) / (flops_per_sample * batch_size))
        what = f"budget.flops={budget.flops:g}"
    else:
        steps = _steps_in(budget.seconds, earlier, before, batch_size, time_step)
        what = f"budget.seconds={budget.seconds:g}"
    if steps < 1:
        raise UserError(f"{what}: not enough for a single step of trainer.batch_size={batch_size}.")
    logger.info("%s: trainer.max_steps=%d", what, steps)
    return steps


def of_steps(config: DictConfig, max_steps: int) -> list[str]:
    """Overrides that make a run exactly `max_steps` long, with the budget switched off."""
    return [*(f"budget.{name}=null" for name in _set(config)), f"trainer.max_steps={max_steps}"]


def unread_steps(config: DictConfig, typed: Collection[str]) -> list[str]:
    """A warning where `trainer.max_steps` was typed but a budget decides how long a run is."""
    if "trainer.max_steps" not in typed:
        return []
    return [
        f"trainer.max_steps is not read: budget.{name} says how many steps the run has (budget.{name}=null: the former)"
        for name in _set(config)
    ]


def _set(config: DictConfig) -> list[str]:
    return [name for name in ("flops", "seconds") if config.budget[name] is not None]


def _spent(before: Before | None, flops_per_sample: int, batch_size: int) -> tuple[int, int]:
    """FLOPs and steps that do not count as steps of this batch size: none, unless it was another one before."""
    if before is None:
        return 0, 0
    step, spent = before.state.step, before.flops
    if spent is None:
        spent = before.samples * flops_per_sample
    return (0, 0) if spent == step * batch_size * flops_per_sample else (spent, step)


def _steps_in(
    seconds: float, earlier: Path | None, before: Before | None, batch_size: int, time_step: Callable[[], float]
) -> int:
    """Steps in so many seconds: those of the run that is gone on with, if it had as many and its steps were alike."""
    if earlier is not None and (taken := max_steps_of(earlier)) is not None:
        same_time = recorded(earlier, "budget.seconds") == seconds
        if same_time and batch_size_of(earlier) in (None, batch_size):
            return taken
    if before is None:
        return int(seconds / time_step())
    return before.state.step + int(max(seconds - before.state.seconds, 0) / time_step())


def seconds_of(trial_step: Callable[[], object], device: torch.device) -> float:
    """How long a step takes on the device, the fastest of a few."""
    return min([timing.seconds(trial_step, device) for _ in range(1 + TIMED_STEPS)][1:])


def _parameters(make: Callable[..., nn.Module], numbers: dict[str, Any], dim: int) -> int:
    with torch.device("meta"):
        return count_parameters(make(dim=dim, **numbers))
