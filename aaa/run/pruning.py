"""Giving up on runs of a sweep that will not win: the median stopping rule (Golovin et al. 2017, Google Vizier)."""

import math
from pathlib import Path
from statistics import median

from aaa.tracking.tracker import METRICS, read_metrics

LOSS = "val/loss"


def why_hopeless(run: Path, step: int, *, after_steps: int, min_runs: int) -> str | None:
    """Why a run need not go on: its best validation loss is worse than the median of the others' at this step.

    The others are those in the sweep's folder, whichever launcher runs them; each counts with its best so far.

    Args:
        run: its folder, in that of the sweep.
        step: that it has just validated at.
        after_steps: before which nothing is given up.
        min_runs: that must have come as far for there to be a median.

    Returns:
        The reason, or None if it may go on.
    """
    ours = _best_up_to(run, step)
    if step < after_steps or ours is None:
        return None
    others = [
        best
        for folder in sorted(run.parent.iterdir())
        if folder != run and (folder / METRICS).is_file() and (best := _best_up_to(folder, step)) is not None
    ]
    if len(others) < min_runs or ours <= (middle := median(others)):
        return None
    return (
        f"Pruned at step {step}: its best validation loss, {ours:.4f}, is above {middle:.4f}, the median of the "
        f"{len(others)} other runs of the sweep that came as far."
    )


def _best_up_to(run: Path, step: int) -> float | None:
    """The lowest validation loss up to this step, None for a run that has not come so far; infinite if none is finite.

    (A NaN is neither above nor below another number, so that a median of it would be one by the order of the runs.)
    """
    validated = [row for row in read_metrics(run / METRICS, having=LOSS) if LOSS in row]
    if not any(row["step"] >= step for row in validated):
        return None
    losses = [row[LOSS] for row in validated if row["step"] <= step]
    return min(filter(math.isfinite, losses), default=math.inf) if losses else None
