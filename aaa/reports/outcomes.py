"""What came out of runs, as tables show it."""

from collections.abc import Sequence

from aaa.reports.runs import RATE, Run

COMPARED = {
    "val/loss": "val loss",
    "quality/seen": "seen",
    "quality/held_out": "held out",
    "quality/right_seen": "seen",
    "quality/right_held_out": "held out",
}  # what runs are compared for; of a mixture also of each part
BESIDES = {"step": "steps", "seconds": "seconds", RATE: "images/s", "train/loss": "train loss"}


def compared(runs: Sequence[Run]) -> dict[str, str]:
    """What runs are compared for and some run has, by its metric: how a table calls it, `seen` or `seen (emoji)`."""
    parts = dict.fromkeys(part for run in runs for part in _parts(run))
    titles: dict[str, str] = {}
    for metric, title in COMPARED.items():
        titles |= {metric: title} | {f"{metric}/{part}": f"{title} ({part})" for part in parts}
    return _measured(runs, titles)


def outcomes(runs: Sequence[Run]) -> dict[str, str]:
    """The same, and of how long it took."""
    return compared(runs) | _measured(runs, BESIDES)


def _measured(runs: Sequence[Run], titles: dict[str, str]) -> dict[str, str]:
    return {metric: title for metric, title in titles.items() if any(run.last(metric) is not None for run in runs)}


def _parts(run: Run) -> list[str]:
    """Names of the data sets that are mixed, if any."""
    return [key.split(".")[2] for key in run.config if key.startswith("data.parts.")]
