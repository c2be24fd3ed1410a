"""Runs side by side in the terminal."""

import math
from typing import Any

from rich.table import Table
from rich.text import Text

from aaa.errors import UserError
from aaa.reports.cells import cell
from aaa.reports.key_names import shown_key
from aaa.reports.paired import Setting, best_setting, difference, find_setting, fold_seeds
from aaa.reports.plain import plain_number, plain_setting
from aaa.reports.runs import RATE, Run
from aaa.reports.telling import differing_keys, telling_keys, without_arguments

SHOWN = {
    "step": "steps",
    "seconds": "seconds",
    RATE: "images/s",
    "train/loss": "train loss",
    "val/loss": "val loss",
    "quality/seen": "seen",
    "quality/held_out": "held out",
    "quality/right_seen": "seen",
    "quality/right_held_out": "held out",
}


MOST_KEYS = 8  # that a terminal has columns for; of more those alone that tell settings apart


def comparison(runs: list[Run]) -> Table:
    """A row a run, lowest validation loss first: what differs in the configs, then what came out."""
    differing = differing_keys(runs)
    keys = without_arguments(runs, differing)
    if len(keys) > MOST_KEYS:
        keys = [*telling_keys(runs), *(key for key in keys if key == "seed")]
    metrics = [metric for metric in SHOWN if any(run.last(metric) is not None for run in runs)]
    table = Table(
        title="1 run" if len(runs) == 1 else f"{len(runs)} runs",
        caption="best: lowest validation loss on the way; seen, held out: right pictures",
    )
    if hidden := len(set(differing) - set(keys)):
        assert isinstance(table.caption, str)
        table.caption += f"\n{hidden} more keys differ, which tell no more settings apart: they are in --json and --csv"
    table.add_column("run", overflow="fold")
    for key in keys:
        table.add_column(cell(shown_key(key)), overflow="fold")
    for metric in metrics:
        table.add_column(SHOWN[metric], justify="right")
    table.add_column("best", justify="right")
    for run in sorted(runs, key=_by_loss):
        values = [cell(run.setting(key)) for key in keys] + [cell(run.outcome(metric)) for metric in metrics]
        table.add_row(cell(run.name), *values, cell(run.best("val/loss")))
    return table


def as_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """What the table says, for other programs: values as they are, lowest validation loss first.

    Outcomes that are no finite number are None.
    """
    keys = differing_keys(runs)
    rows = []
    for run in sorted(runs, key=_by_loss):
        best_step, best = run.best_with_step("val/loss")
        outcome = {metric: plain_number(run.outcome(metric)) for metric in SHOWN}
        settings = {key: plain_setting(run.config.get(key)) for key in keys}
        rows.append({"run": run.name, **settings, **outcome, "best val/loss": best, "best step": best_step})
    return rows


OTHER_TABLE = "another validation table"


def verdicts(runs: list[Run], baseline: str | None = None) -> Table | None:
    """A row a setting: its validation loss over seeds, and whether it is better or worse than the baseline.

    Below it the runs of it that do not count, and why.

    Args:
        runs: to compare.
        baseline: name of a run or setting; None for the best setting.

    Returns:
        The table, or None if there are no two settings that have validated.

    Raises:
        UserError: if there is no such baseline.
    """
    settings = fold_seeds(runs)
    if len(settings) < 2 and baseline is None:
        return None
    against = best_setting(settings) if baseline is None else find_setting(settings, baseline)
    table = Table(
        title=cell(f"Validation loss less that of {'the best, ' if baseline is None else ''}{against.title}"),
        caption="[ ]: 95% interval, of each row by itself. Over pictures: of these very models, not of other seeds.",
    )
    if any(setting.tables != against.tables for setting in settings):
        assert isinstance(table.caption, str)
        table.caption += (
            f"\n{OTHER_TABLE}: judged by other pictures, noise levels or noise, as far as is known. To compare losses, "
            "train on the same data, encoder, resolution and validation settings, with one version of aaa."
        )
    for column in ("setting", "val loss", "difference", "over", "is it better?"):
        table.add_column(column, overflow="fold", justify="right" if column in ("val loss", "difference") else "left")
    for setting in settings:
        table.add_row(cell(setting.title), *_verdict(setting, against))
        for name, reason in setting.left_out.items():
            table.add_row(cell(f"left out: {name}"), "-", "-", "-", cell(reason))
    return table


def _verdict(setting: Setting, against: Setting) -> list[Text | str]:
    """Cells of a setting: its loss, the difference, what of, and which is better."""
    loss = sum(setting.losses) / len(setting.losses)
    folded = f"{loss:.4f}" + (f" ± {setting.deviation:.4f}" if setting.deviation is not None else "")
    if setting is against:
        return [folded, "", "", "the baseline"]
    if setting.tables != against.tables and not setting.has_diverged:
        return [folded, "-", "-", OTHER_TABLE]
    try:
        found = difference(setting, against)
    except UserError as error:
        return [folded, "-", "-", cell(str(error))]
    verdict = ("worse" if found.mean > 0 else "better") if found.is_clear else "cannot be told"
    return [folded, cell(str(found)), f"{found.count} {found.over}", verdict]


def _by_loss(run: Run) -> float:
    loss = plain_number(run.last("val/loss"))
    return math.inf if loss is None else loss
