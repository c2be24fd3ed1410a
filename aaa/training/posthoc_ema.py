"""How saved weights are weighed so that they come near to the average of another memory (post-hoc EMA: EDM2, Karras et
al. 2024, arXiv 2312.02696, section 3.1).

An average of the weights is a weighted sum of those after each update: its profile says how much each update counts.
Averages that were saved on the way, and the weights beside them, have profiles of their own. A sum of them whose
profile is nearly the wanted one is nearly the wanted average, although the updates between are gone.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aaa.training.ema import Keep

ROWS = 2**16  # updates looked at together
LEAST_KEPT = 1e-300  # of the old average, where a logarithm is taken


class Saved(NamedTuple):
    """What a file of weights holds.

    Attributes:
        updates: of the run until then, at least 1.
        keep: of the average that it is; None: it is the weights after the last of these updates.
    """

    updates: int
    keep: Keep | None = None


class Fit(NamedTuple):
    """A sum of saved weights.

    Attributes:
        factors: of each of them, 1 in all.
        error: norm of the difference between its profile and the wanted one, over the norm of the latter.
    """

    factors: list[float]
    error: float


def fits(saved: Sequence[Saved], wanted: Sequence[Saved]) -> list[Fit]:
    """The sums of saved weights whose profiles are nearest to those of other averages.

    Factors make 1 in all, so that what all updates share is in the sum as it is.

    Args:
        saved: what there is, after different numbers of updates or of different averages.
        wanted: averages that were not kept.
    """
    columns = [*saved, *wanted]
    triangle = torch.zeros(0, len(columns), dtype=torch.float64)
    for rows in _profiles(columns):  # of millions of updates only the triangle is held
        triangle = torch.linalg.qr(torch.cat([triangle, rows]), mode="r").R
    there, targets = triangle[:, : len(saved)], triangle[:, len(saved) :]
    others, last = there[:, :-1], there[:, -1:]
    found = torch.linalg.lstsq(others - last, targets - last, driver="gelsd").solution
    factors = torch.cat([found, 1 - found.sum(0, keepdim=True)])
    errors = (there @ factors - targets).norm(dim=0) / targets.norm(dim=0)
    return [Fit(*of_one) for of_one in zip(factors.T.tolist(), errors.tolist(), strict=True)]


def profile(average: Saved, logs: Tensor, start: int, end: int) -> Tensor:
    """How much each update from `start` to before `end`, counted from 0, counts in an average.

    Args:
        average: of which.
        logs: running sum of the logarithms of what it keeps at each update, as `_logs` gives it.
        start: the first update.
        end: after the last.
    """
    updates = torch.arange(start, end)
    if average.keep is None:
        return (updates == average.updates - 1).double()
    within = updates[updates < average.updates]
    before = logs[(within - 1).clamp(min=0)]
    taken_in = torch.where(within == 0, 1.0, -torch.expm1(logs[within] - before))
    counts = taken_in * torch.exp(logs[average.updates - 1] - logs[within])
    return torch.cat([counts, counts.new_zeros(len(updates) - len(within))])


def _profiles(averages: Sequence[Saved]) -> Iterator[Tensor]:
    """A column for each average, so many updates at once."""
    last = max(average.updates for average in averages)
    logs = {keep: _logs(keep, last) for keep in {average.keep for average in averages} if keep is not None}
    none = torch.zeros(0)
    for start in range(0, last, ROWS):
        end = min(start + ROWS, last)
        of_each = (profile(a, logs[a.keep] if a.keep else none, start, end) for a in averages)
        yield torch.stack([*of_each], 1)


def _logs(keep: Keep, updates: int) -> Tensor:
    kept = [1.0, *(max(keep(n), LEAST_KEPT) for n in range(1, updates))]  # the first update copies the weights
    return torch.tensor(kept, dtype=torch.float64).log().cumsum(0)
