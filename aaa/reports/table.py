"""Runs side by side in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from aaa.errors import UserError
from aaa.reports.cells import cell, cells
from aaa.reports.columns import Column, caption, fill, needed
from aaa.reports.effects import Effect, explained
from aaa.reports.following import chosen_keys
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.labels import common_beginning, few
from aaa.reports.outcomes import BESIDES, COMPARED, compared, every_outcome, further_quality, outcomes
from aaa.reports.paired import OF_THESE_MODELS, Setting, best_setting, difference, find_setting, fold_seeds, run_named
from aaa.reports.plain import plain_number, plain_setting
from aaa.reports.runs import Run, by_loss
from aaa.reports.telling import differing_keys, setting_keys, telling_keys
from aaa.reports.work import flops_beside, with_work
from aaa.tracking.printed import one_line
from aaa.tracking.stages import described

BEST, BEGAN_AFTER = "best", "began after"
MOST_KEYS = 8  # that are worth a column each; of more those alone that tell settings apart
VALUES_SHOWN = 4  # of a key, whose effects are shown: those of the lowest loss
ALWAYS = 2  # columns that stay however little room there is: which run, and its loss
# Of what went before a run.
WENT_BEFORE = {"step": "steps", "samples": "samples", "flops": "FLOPs", "seconds": "seconds"}


def comparison(runs: list[Run], width: int | None = None) -> Table:
    """A row a run, lowest validation loss first: loss and right pictures, what differs in the configs, and the rest.

    Args:
        runs: to compare.
        width: letters that there is room for, else names are shortened and columns left out; None for any number.
    """
    differing = differing_keys(runs)
    keys, telling = chosen_keys(runs), telling_keys(runs)
    if len(keys) > MOST_KEYS:
        keys = [key for key in keys if key == "seed"]
    keys = _each_shown_once([*setting_keys(runs), *telling, *(key for key in keys if key == "seed"), *keys])
    rows, beginning = sorted(runs, key=by_loss), ""
    columns = _columns(rows, {key: shown_key(key) for key in keys})
    if width is not None and needed(columns) > width:
        beginning = common_beginning([run.name for run in runs])
        titles = dict.fromkeys([*COMPARED.values(), *BESIDES.values(), *outcomes(runs).values()])
        names = short_names([*keys, "run", *titles, BEST])  # none is called as a column of another kind is
        columns = _columns(rows, {key: names[shown_key(key)] for key in keys}, beginning)
    table = Table(title="1 run" if len(runs) == 1 else f"{len(runs)} runs")
    any_began = any(run.stages for run in runs)
    absent = fill(table, columns, width, ALWAYS + any_began)
    told = {
        f"runs: {one_line(beginning)}...": bool(beginning),
        "best: lowest validation loss on the way": BEST not in absent,
        "seen, held out: right pictures": any(
            _is_seen(column.title) for column in columns if column.title not in absent
        ),
    }
    lines = ["; ".join(line for line, holds in told.items() if holds)]
    if any_began:
        lines.append(
            f"{BEGAN_AFTER}: what the weights that a run began from had cost; its steps and seconds are its own"
        )
    if hidden := [shown_key(key) for key in differing if key not in keys]:
        differ = "1 more key differs, and tells" if len(hidden) == 1 else f"{len(hidden)} more keys differ, and tell"
        lines.append(f"{differ} no more settings apart (see --json and --csv): {one_line(few(hidden, MOST_KEYS))}")
    if further := len(further_quality(runs).keys() - compared(runs).keys()):
        lines.append(f"{further} more metric{'s' if further > 1 else ''} of pictures: see --json and --csv")
    table.caption = caption(filter(None, lines), absent)
    return table


def _each_shown_once(keys: Iterable[str]) -> list[str]:
    """The first of those keys and groups that are shown alike, as an option of `optimizer` and its class are."""
    shown: dict[str, str] = {}
    for key in keys:
        shown.setdefault(shown_key(key), key)
    return list(shown.values())


def _columns(runs: Sequence[Run], titles: Mapping[str, str], beginning: str = "") -> list[Column]:
    """All that the terminal shows of runs, what matters most first.

    Args:
        runs: in the order of the rows.
        titles: by the key, what a column of settings is called.
        beginning: of all names of runs, that is left out.
    """
    measured = {
        metric: Column(one_line(title), cells([run.outcome(metric) for run in runs]), has_numbers=True)
        for metric, title in outcomes(runs).items()
    }
    first = compared(runs)
    of_first = [measured[metric] for metric in first]
    began = Column(BEGAN_AFTER, [cell(described(run.stages) if run.stages else None) for run in runs])
    return [
        Column("run", [cell(run.name.removeprefix(beginning)) for run in runs]),
        *of_first[:1],
        *([began] if any(run.stages for run in runs) else []),
        *of_first[1:],
        *(Column(one_line(title), [cell(run.setting(key)) for run in runs]) for key, title in titles.items()),
        *(column for metric, column in measured.items() if metric not in first),
        Column(BEST, cells([run.best() for run in runs]), has_numbers=True),
    ]


def _is_seen(title: str) -> bool:
    return title.partition(" (")[0] == "seen"


def as_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """What the table says, for other programs: values as they are, lowest validation loss first.

    Outcomes that no run has are not there; those that are no finite number are None. Where a run began from trained
    weights, what these had cost is there of each: 0 of none, None where it is not known.
    """
    keys, metrics = list(dict.fromkeys([*telling_keys(runs), *differing_keys(runs)])), every_outcome(runs)
    rows, any_began = [], any(run.stages for run in runs)
    for run in sorted(runs, key=by_loss):
        best_step, best = run.best_with_step()
        outcome = {metric: plain_number(run.outcome(metric)) for metric in metrics}
        settings = {key: plain_setting(run.value(key)) for key in keys}
        rows.append({"run": run.name, **settings, **outcome, "best val/loss": best, "best step": best_step})
        if any_began:
            rows[-1] |= {f"{BEGAN_AFTER} {name}": run.before(axis) for axis, name in WENT_BEFORE.items()}
    return rows


OTHER_TABLE = "another validation table"
FLOPS_IN_ALL = "FLOPs in all: training FLOPs, those of the weights that runs began from included."


def verdicts(runs: list[Run], baseline: str | None = None, width: int | None = None) -> Table | None:
    """A row a setting: its validation loss over seeds, and whether it is better or worse than the baseline.

    Below it the runs of it that do not count, and why.

    Args:
        runs: to compare.
        baseline: name of a run or setting, or the folder of a run; None for the best setting.
        width: letters that there is room for; None for any number of them.

    Returns:
        The table, or None if there are no two settings that have validated.

    Raises:
        UserError: if there is no such baseline.
    """
    settings = fold_seeds(runs)
    if len(settings) < 2 and baseline is None:
        return None
    against = best_setting(settings) if baseline is None else find_setting(settings, run_named(runs, baseline))
    lines = [f"[ ]: 95% interval, of each row by itself. {OF_THESE_MODELS}"]
    if any(setting.tables != against.tables for setting in settings):
        lines.append(
            f"{OTHER_TABLE}: judged by other pictures, noise levels or noise, as far as is known. To compare losses, "
            "train on the same data, encoder, resolution and validation settings, with one version of aaa."
        )
    if any(run.stages for setting in settings for run in setting.runs):
        lines.append(FLOPS_IN_ALL)
    rows: list[list[Text]] = []
    for setting in settings:
        rows.append([cell(setting.title), *_verdict(setting, against)])
        rows += [[cell(f"left out: {name}"), *map(cell, "---"), cell(why)] for name, why in setting.left_out.items()]
    table = Table(title=cell(f"Validation loss less that of {'the best, ' if baseline is None else ''}{against.title}"))
    titles = ("setting", "val loss", "difference", "over", "is it better?")
    columns = [
        Column(title, cells, has_numbers=title in ("val loss", "difference"))
        for title, *cells in zip(titles, *rows, strict=True)
    ]
    _fill_all(table, columns, width)
    table.caption = caption(lines, [])
    return table


def effects_table(found: Sequence[Effect], width: int | None = None) -> Table | None:
    """A row a value of a swept key: whether it is better than another value of it, averaged over all else.

    Of more than `VALUES_SHOWN` values of a key those of the lowest loss.

    Args:
        found: effects of each key.
        width: letters that there is room for; None for any number of them.

    Returns:
        The table, or None if there are none.
    """
    if not found:
        return None
    by_key: dict[str, list[Effect]] = {}
    for effect in sorted(found, key=lambda effect: effect.difference.mean):
        by_key.setdefault(effect.key, []).append(effect)
    best = {id(effect) for of_key in by_key.values() for effect in of_key[:VALUES_SHOWN]}
    shown = [effect for effect in found if id(effect) in best]
    rows = [
        (effect.value, effect.reference.partition("=")[2], str(effect.difference), effect.over, effect.verdict)
        for effect in shown
    ]
    titles = ("one key alone", "less that of", "difference", "over", "is it better?")
    columns = [
        Column(title, [cell(text) for text in texts], has_numbers=title == "difference")
        for title, *texts in zip(titles, *rows, strict=True)
    ]
    table = Table(title="Validation loss by one key, all else equal")
    _fill_all(table, columns, width)
    further = [
        f"{key}: {more} more value{'s' if more > 1 else ''} of a higher loss than these, on the page"
        for key, of_key in by_key.items()
        if (more := len(of_key) - VALUES_SHOWN) > 0
    ]
    notes = [note for effect in shown for note in effect.notes]
    work = [FLOPS_IN_ALL] if any(effect.work for effect in shown) else []
    table.caption = caption([*explained(shown), *work, *further, *map(one_line, notes)], [])
    return table


def _fill_all(table: Table, columns: Sequence[Column], width: int | None) -> None:
    """Put all columns into a table, with differences over two lines where there is little room."""
    if width is not None and needed(columns) > width:  # no line ends within an interval
        columns = [
            Column(column.title, [Text(text.plain.replace(" [", "\n[")) for text in column.cells], column.has_numbers)
            if column.title == "difference"
            else column
            for column in columns
        ]
    fill(table, columns, width, always=len(columns))


def _verdict(setting: Setting, against: Setting) -> list[Text]:
    """Cells of a setting: its loss, the difference, what of, and which is better."""
    loss = sum(setting.losses) / len(setting.losses)
    folded = f"{loss:.4f}" + (f" ± {setting.deviation:.4f}" if setting.deviation is not None else "")
    if setting is against:
        return [*map(cell, (folded, "", "", "the baseline"))]
    if setting.has_diverged:
        return [*map(cell, (folded, "-", "-", "has diverged"))]
    if setting.tables != against.tables:
        return [*map(cell, (folded, "-", "-", OTHER_TABLE))]
    try:
        found = difference(setting, against)
    except UserError as error:
        return [*map(cell, (folded, "-", "-", str(error)))]
    verdict = with_work(found.verdict, flops_beside(setting.runs, against.runs))
    return [*map(cell, (folded, str(found), f"{found.count} {found.over}", verdict))]
