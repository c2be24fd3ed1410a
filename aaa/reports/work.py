"""For how much work in all, that of the weights that runs began from included, one setting came out as it did."""

from collections.abc import Sequence
from statistics import mean

from aaa.reports.runs import Run

ALIKE = 0.05  # of the FLOPs in all, by which two settings may differ and still have had as many
NOT_KNOWN = "FLOPs in all not known"


def flops_beside(runs: Sequence[Run], others: Sequence[Run]) -> str:
    """How many FLOPs in all runs had beside others, as a verdict says it: `with 1.3x the FLOPs in all`.

    Nothing where neither began from trained weights, or both from what had cost the same.

    Args:
        runs: of a setting.
        others: of the one that it is compared with.
    """
    if _costs(runs) == _costs(others):
        return ""
    ours, theirs = _flops(runs), _flops(others)
    if ours is None or theirs is None:
        return NOT_KNOWN
    share = ours / theirs
    return "with as many FLOPs in all" if abs(share - 1) <= ALIKE else f"with {share:.2g}x the FLOPs in all"


def with_work(verdict: str, work: str) -> str:
    """`better, with 1.3x the FLOPs in all`; the verdict alone where there is nothing to say of the work."""
    return f"{verdict}, {work}" if work else verdict


def _costs(runs: Sequence[Run]) -> set[tuple[object, ...]]:
    """What had gone before: of weights whose cost is not known, which they are."""
    return {
        tuple((stage.run, stage.step) if stage.flops is None else stage.flops for stage in run.stages) for run in runs
    }


def _flops(runs: Sequence[Run]) -> float | None:
    """Mean over the runs; None where it is not known of one."""
    found = [run.in_all("flops") for run in runs]
    known = [flops for flops in found if flops]
    return mean(known) if known and len(known) == len(found) else None
