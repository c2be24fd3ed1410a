"""What training had cost before a run began from trained weights, stage by stage, as environment.json says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aaa.tracking.durations import duration

STAGES = "stages"  # in environment.json of a run that began from trained weights
UNKNOWN = "unknown"
BEYOND = 1e300  # no training has cost so much, and no number is more


@dataclass(frozen=True)
class Stage:
    """A training whose weights another one began from.

    Attributes:
        run: its folder; of weights that lie in no run, their path.
        step: optimizer steps that it had taken when its weights were taken; None where that is not known.
        samples, flops, seconds: that it had cost until then, itself alone; None likewise.
        kind: equal for those that differ in their seed alone, in settings, length and which weights were taken; None of
            one that is taken for no seed of another.
    """

    run: str
    step: int | None = None
    samples: int | None = None
    flops: int | None = None
    seconds: float | None = None
    kind: str | None = None


def read_stages(environment: Mapping[str, Any], init_from: object) -> list[Stage]:
    """The stages before a run, the first first; none of a run that began from random weights.

    Args:
        environment: what environment.json of the run says.
        init_from: what its config says. Earlier versions wrote down nothing more: what that had cost is not known.
    """
    recorded = environment.get(STAGES)
    if isinstance(recorded, list) and recorded:
        return [_stage(one) for one in recorded]
    return [] if init_from is None else [Stage(str(init_from))]


def in_all(stages: Sequence[Stage], axis: str) -> float | None:
    """The sum of what these stages had cost, 0 of none; None where it is not known of all.

    Args:
        stages: as `read_stages` gives them.
        axis: `step`, `samples`, `flops` or `seconds`.
    """
    costs = [getattr(stage, axis) for stage in stages]
    return None if None in costs else round(sum(costs), 3)


def described(stages: Sequence[Stage]) -> str:
    """`60 steps, 1,920 samples, 2.13e+11 FLOPs, 5 s`, of all of them together; `unknown` where nothing is known."""
    step, samples, flops, seconds = (in_all(stages, axis) for axis in ("step", "samples", "flops", "seconds"))
    if step is None and samples is None and flops is None and seconds is None:
        return UNKNOWN
    told = (
        f"{UNKNOWN if step is None else f'{step:,}'} steps",
        f"{UNKNOWN if samples is None else f'{samples:,}'} samples",
        f"{UNKNOWN if flops is None else f'{flops:.3g}'} FLOPs",
        f"{UNKNOWN} seconds" if seconds is None else duration(seconds),
    )
    return ", ".join(told)


def _stage(recorded: object) -> Stage:
    """What was written down of one; a file that somebody has changed may hold anything."""
    said: Mapping[str, Any] = recorded if isinstance(recorded, dict) else {}
    kind = said.get("kind")
    return Stage(
        str(said.get("run", UNKNOWN)),
        _count(said.get("step")),
        _count(said.get("samples")),
        _count(said.get("flops")),
        _number(said.get("seconds")),
        kind if isinstance(kind, str) else None,
    )


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < BEYOND else None
