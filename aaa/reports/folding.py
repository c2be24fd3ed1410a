"""Runs of one setting, and which of them speak for it."""

from collections.abc import Sequence

from aaa.reports.runs import Run
from aaa.reports.telling import setting_keys, setting_of


def by_setting(runs: Sequence[Run]) -> list[list[Run]]:
    """These runs, those together that differ in nothing but their seed."""
    keys = setting_keys(runs)
    folded: dict[str, list[Run]] = {}
    for run in runs:
        folded.setdefault(setting_of(run, keys), []).append(run)
    return list(folded.values())


def left_out(runs: Sequence[Run]) -> dict[str, str]:
    """By its name, why a run does not count beside the others of its setting; without those that do.

    One that was stopped, pruned or still goes on has come less far than another. One of the same seed is the same run
    done again, and no further trial: the last of them counts.
    """
    reasons: dict[str, str] = {}
    for members in by_setting(runs):
        furthest = max(map(share_done, members))
        of_seed: dict[object, Run] = {}
        for run in reversed(members):
            seed = run.config.get("seed")
            if share_done(run) < furthest:
                validated = f"validated at {_reached(run)}" if _validated_at(run) else "not validated yet"
                reasons[run.name] = f"not finished: {validated}"
            elif of_seed.setdefault(seed, run) is not run:
                reasons[run.name] = f"seed {seed} again: {of_seed[seed].name} counts"
    return reasons


def share_done(run: Run) -> float:
    """Of its steps the part after which a run has last validated; a budget of time gives each seed its own number."""
    return _validated_at(run) / (_steps(run) or 1)


def unfinished(run: Run) -> str | None:
    """How far a run has come that has not validated after its last step, None of one that has."""
    return _reached(run) if share_done(run) < 1 else None


def counted(runs: Sequence[Run]) -> list[Run]:
    """The runs that speak for their settings."""
    without = left_out(runs)
    return [run for run in runs if run.name not in without]


def _validated_at(run: Run) -> int:
    return next((row["step"] for row in reversed(run.metrics) if "val/loss" in row), 0)


def _steps(run: Run) -> int | None:
    steps = run.config.get("trainer.max_steps")
    return steps if isinstance(steps, int) and steps > 0 else None


def _reached(run: Run) -> str:
    steps = _steps(run)
    return f"step {_validated_at(run)}" + ("" if steps is None else f" of {steps}")
