"""What came out of runs, as tables show it."""

import re
from collections.abc import Iterable, Sequence

from aaa.reports.runs import RATE, Run

COMPARED = {
    "val/loss": "val loss",
    "quality/seen": "seen",
    "quality/held_out": "held out",
    "quality/right_seen": "seen",
    "quality/right_held_out": "held out",
}  # what runs are compared for; of a mixture also of each part
QUALITY = "quality/"  # what metrics of pictures begin with
MOST_FURTHER = 3  # metrics of pictures besides those, that are worth columns
# What the name of a metric ends in where other pictures were compared: `kind_of` in aaa/evaluation/reference.py.
KIND = re.compile(r"(-train|-validation)?(-original|-[\w.]*-[0-9a-f]{8})?")
BESIDES = {"step": "steps", "seconds": "seconds", RATE: "images/s", "train/loss": "train loss"}


def compared(runs: Sequence[Run]) -> dict[str, str]:
    """What runs are compared for and some run has, by its metric: how a table calls it, `seen` or `seen (emoji)`.

    Other metrics of pictures, one's own say, are among it where they are few. What is measured of each part of a
    mixture, or of pictures compared otherwise, counts once.
    """
    known, further = _known(runs), further_quality(runs)
    parts = sorted({part for run in runs for part in _parts(run)})
    every = [_in_two(metric, parts) for metric in (*known, *further)]
    alone = {}
    for metric, title in further.items():
        name, part = _in_two(metric, parts)
        of_same_part = [other for other, of_part in every if of_part == part]
        if not (_is_detail(metric, [*known, *further]) or _is_detail(name, of_same_part)):
            alone[metric] = title
    few = len({_without_kind(_in_two(metric, parts)[0]) for metric in alone}) <= MOST_FURTHER
    return known | (alone if few else {})


def outcomes(runs: Sequence[Run]) -> dict[str, str]:
    """The same, and of how long it took."""
    return compared(runs) | _measured(runs, BESIDES)


def every_outcome(runs: Sequence[Run]) -> dict[str, str]:
    """The same, and all other metrics of pictures, however many."""
    return outcomes(runs) | further_quality(runs)


def further_quality(runs: Sequence[Run]) -> dict[str, str]:
    """Metrics of pictures that are not in `COMPARED`, in the order in which they were first measured."""
    known = _known(runs)
    measured = dict.fromkeys(name for run in runs for name in run.measured if name.startswith(QUALITY))
    return {metric: metric.removeprefix(QUALITY) for metric in measured if metric not in known}


def _known(runs: Sequence[Run]) -> dict[str, str]:
    parts = dict.fromkeys(part for run in runs for part in _parts(run))
    titles: dict[str, str] = {}
    for metric, title in COMPARED.items():
        titles |= {metric: title} | {f"{metric}/{part}": f"{title} ({part})" for part in parts}
    return _measured(runs, titles)


def _is_detail(metric: str, others: Iterable[str]) -> bool:
    """Whether it says more of one of the others, as `quality/kid_standard_error` does of `quality/kid`."""
    return any(metric.startswith((f"{other}_", f"{other}/")) for other in others)


def _in_two(metric: str, parts: Iterable[str]) -> tuple[str, str | None]:
    """The name of a metric and the part of a mixture that it is of: `quality/fid/emoji`."""
    name, _, last = metric.rpartition("/")
    return (name, last) if last in parts else (metric, None)


def _without_kind(name: str) -> str:
    beginning, dash, ending = name.partition("-")
    return beginning if KIND.fullmatch(dash + ending) else name


def _measured(runs: Sequence[Run], titles: dict[str, str]) -> dict[str, str]:
    return {metric: title for metric, title in titles.items() if any(run.last(metric) is not None for run in runs)}


def _parts(run: Run) -> list[str]:
    """Names of the data sets that are mixed, if any."""
    return [key.split(".")[2] for key in run.config if key.startswith("data.parts.")]
