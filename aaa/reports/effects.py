"""What one swept key does to the validation loss, all else equal: averaged over the other keys, uncertain over seeds.

Seeds are drawn, and stand for all that could be; the values of the other keys were chosen, and stand for themselves. So
differences are averaged over these within each seed, and the interval is over the seeds.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from aaa.reports.folding import share_done, unfinished
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.labels import description
from aaa.reports.paired import (
    Difference,
    Setting,
    best_setting,
    find_setting,
    fold_seeds,
    of_distances,
    run_named,
)
from aaa.reports.runs import Run
from aaa.reports.telling import differing_keys, setting_keys, setting_of

LEAST_CELLS = 2  # of the other keys: what one alone says is a difference of two settings already
MOST_NAMED = 3  # of what is left out, and of values that say the same
DEPENDS = "no one answer"


@dataclass(frozen=True)
class Effect:
    """Validation loss with one value of a key less that with another, averaged over what else was swept.

    Attributes:
        key: as it is shown.
        value, reference: the two, `qk_norm=True` and `qk_norm=False`.
        difference: of them, over seeds; over pictures where one seed alone has all of it.
        pairs: of runs that differ in this key alone, that it comes from.
        depends: on which other key it depends whether the value helps, and where it does.
        contradicts: whether it is clearly better for one value of another key, and clearly worse for another.
        left_out: combinations of the other keys, and seeds, that it does not come from, and why.
    """

    key: str
    value: str
    reference: str
    difference: Difference
    pairs: int
    depends: Sequence[str]
    contradicts: bool
    left_out: Sequence[str]

    @property
    def verdict(self) -> str:
        """Which of the two is better, in words."""
        return DEPENDS if self.contradicts else self.difference.verdict

    @property
    def over(self) -> str:
        """What the uncertainty comes from, and how many pairs of runs."""
        return f"{self.difference.count} {self.difference.over} ({self.pairs} pairs)"

    @property
    def notes(self) -> list[str]:
        """What else has to be said of it."""
        left_out = [f"left out: {_few(self.left_out)}"] if self.left_out else []
        return [f"{self.value}: {note}" for note in (*self.depends, *left_out)]


@dataclass(frozen=True)
class _Pairs:
    """Two values of a key, by the settings of all other keys (a cell) and by seed.

    Attributes:
        cells: of each that counts a setting, which says the values of the other keys.
        distances: of each such cell, by seed or by picture, one loss less the other.
        over: `seeds` or `pictures`.
        seeds: that every cell has.
        left_out: as an `Effect` has it.
    """

    cells: Mapping[str, Run]
    distances: Mapping[str, Mapping[Hashable, float]]
    over: str
    seeds: frozenset[Hashable]
    left_out: Sequence[str]

    def averaged(self, cells: Iterable[str]) -> list[float]:
        """Of each seed or picture, always in the same order, the mean difference over these cells."""
        of_cells = [self.distances[cell] for cell in cells]
        units = next(iter(self.distances.values()))
        return [mean(of_cell[unit] for of_cell in of_cells) for unit in units]


def effects(runs: Sequence[Run], baseline: str | None = None) -> list[Effect]:
    """Of each key that was swept beside others, what each of its values does in place of the reference value.

    Without values that share fewer than `LEAST_CELLS` settings of the other keys with the reference.

    Args:
        runs: to compare.
        baseline: whose values are the references, as `verdicts` takes it; None for those of the first run.
    """
    settings, keys = fold_seeds(runs), setting_keys(list(runs))
    if len(keys) < 2 or not settings:
        return []
    names = short_names([*differing_keys(list(runs)), *keys])
    against = None if baseline is None else find_setting(settings, run_named(runs, baseline))
    place = {run.name: number for number, run in enumerate(runs)}
    in_order = sorted(
        _judged_alike(settings, against or best_setting(settings)),
        key=lambda setting: min(place[run.name] for run in setting.runs),
    )
    found = []
    for key in keys:
        others = [other for other in keys if other != key]
        by_value: dict[str, dict[str, Setting]] = {}
        for setting in in_order:
            cells = by_value.setdefault(setting_of(setting.runs[0], [key]), {})
            cells[setting_of(setting.runs[0], others)] = setting
        reference = setting_of((against or in_order[0]).runs[0], [key]) if in_order else ""
        for value, cells in by_value.items():
            if value != reference and reference in by_value:
                effect = _effect(key, cells, by_value[reference], others, names)
                found += [] if effect is None else [effect]
    return found


def _judged_alike(settings: Sequence[Setting], against: Setting) -> list[Setting]:
    """The settings that were judged by the table of this one, without damaged ones, whose rows are of others."""
    judged = [setting for setting in settings if setting.tables == against.tables]
    records = Counter(frozenset(rows.records) for setting in judged for rows in setting.rows)
    whole, _ = records.most_common(1)[0]
    return [setting for setting in judged if all(frozenset(rows.records) == whole for rows in setting.rows)]


def _effect(
    key: str, ours: Mapping[str, Setting], theirs: Mapping[str, Setting], others: list[str], names: Mapping[str, str]
) -> Effect | None:
    value, reference = (description(next(iter(side.values())).runs[0], [key], names) for side in (ours, theirs))
    pairs = _paired(ours, theirs, (value, reference), others, names)
    if len(pairs.cells) < LEAST_CELLS:
        return None
    difference = of_distances(pairs.averaged(pairs.cells), pairs.over)
    depends, contradicts = [], False
    for other in others:
        by_level: dict[str, list[str]] = {}
        for cell, run in pairs.cells.items():
            by_level.setdefault(description(run, [other], names), []).append(cell)
        if told := _by_level(pairs, by_level):
            is_contrary = {"helps", "hurts"} <= told.keys()
            if is_contrary or not difference.is_clear:
                where = ", ".join(f"at {_few(levels)} it {does}" for does, levels in told.items())
                depends.append(f"{where}: {DEPENDS if is_contrary else 'not the same everywhere'}")
            contradicts = contradicts or is_contrary
    count = len(pairs.cells) * len(pairs.seeds)
    return Effect(shown_key(key), value, reference, difference, count, depends, contradicts, pairs.left_out)


def _by_level(pairs: _Pairs, by_level: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What the value does for each value of another key, if it is not of one sign; nothing if that may be chance.

    The lowest and the highest effect have to differ clearly, and one of them has to be clear itself.
    """
    averaged = {level: pairs.averaged(cells) for level, cells in by_level.items()}
    found = {level: of_distances(values, pairs.over) for level, values in averaged.items()}
    low, high = (end(found, key=lambda level: found[level].mean) for end in (min, max))
    apart = of_distances([a - b for a, b in zip(averaged[high], averaged[low], strict=True)], pairs.over)
    if not found[low].mean < 0 < found[high].mean or not apart.is_clear:
        return {}
    if not (found[low].is_clear or found[high].is_clear):
        return {}
    told: dict[str, list[str]] = {}
    for level, one in found.items():
        does = {"better": "helps", "worse": "hurts"}.get(one.verdict, one.verdict)
        levels = told.setdefault(does, [])
        levels.append(level.partition("=")[2] if levels else level)  # depth=2, 4
    return {does: told[does] for does in ("helps", "hurts", "cannot be told") if does in told}


def _paired(
    ours: Mapping[str, Setting],
    theirs: Mapping[str, Setting],
    values: tuple[str, str],
    others: list[str],
    names: Mapping[str, str],
) -> _Pairs:
    """The differences of two values of a key in cells that both have whole: of all seeds, finished, not diverged.

    Args:
        ours, theirs: settings of the two, by cell.
        values: what they are called.
        others: the keys that make a cell.
        names: by the shown key, what is written for it.
    """
    run_of = {cell: setting.runs[0] for side in (ours, theirs) for cell, setting in side.items()}
    reasons: dict[str, str] = {}
    shared: dict[str, frozenset[Hashable]] = {}
    for cell in run_of:
        there = {value: side[cell] for value, side in zip(values, (ours, theirs), strict=True) if cell in side}
        diverged = [value for value, setting in there.items() if setting.has_diverged]
        seeds = frozenset.intersection(*(frozenset(setting.by_seed) for setting in there.values()))
        if len(there) < 2:
            reasons[cell] = f"only with {next(iter(there))}"
        elif diverged:
            reasons[cell] = f"{' and '.join(diverged)} diverged"
        elif any(unfinished(setting.runs[0]) for setting in there.values()):
            reasons[cell] = "not finished"
        elif len({share_done(setting.runs[0]) for setting in there.values()}) > 1:
            reasons[cell] = "not equally far"
        elif seeds:
            shared[cell] = seeds
        else:
            reasons[cell] = "no seed of both"
    cells, seeds = _complete(shared)
    reasons |= dict.fromkeys((cell for cell in shared if cell not in cells), "not of all seeds")
    left_out = [f"{description(run_of[cell], others, names)} ({why})" for cell, why in reasons.items()]
    further = frozenset[Hashable]().union(*(shared[cell] for cell in cells)) - seeds
    left_out += [f"seed={seed} (not everywhere)" for seed in sorted(further, key=str)]
    if len(seeds) == 1:
        (only,) = seeds
        distances = {cell: _less(_by_picture(ours[cell], only), _by_picture(theirs[cell], only)) for cell in cells}
    else:
        distances = {cell: _less(ours[cell].by_seed, theirs[cell].by_seed, seeds) for cell in cells}
    over = "pictures" if len(seeds) == 1 else "seeds"
    return _Pairs({cell: run_of[cell] for cell in cells}, distances, over, seeds, left_out)


def _complete(shared: Mapping[str, frozenset[Hashable]]) -> tuple[list[str], frozenset[Hashable]]:
    """Cells and seeds of which each cell has each seed: as many pairs as there can be, but of two cells at least.

    Two seeds are better than one of more cells, if not of twice as many: they alone say something of other seeds.
    """
    sets = list(shared.values())
    tried = dict.fromkeys(a & b for a in sets for b in sets)
    tried[frozenset.intersection(*sets) if sets else frozenset()] = None
    found = [([cell for cell in shared if shared[cell] >= seeds], seeds) for seeds in tried if seeds]

    def worth(one: tuple[list[str], frozenset[Hashable]]) -> tuple[bool, bool, int, int]:
        cells, seeds = one
        says_of_seeds = len(seeds) > 1 and 2 * len(cells) >= len(shared)
        return len(cells) >= LEAST_CELLS, says_of_seeds, len(cells) * len(seeds), len(cells)

    return max(found, key=worth, default=([], frozenset()))


def _less(
    ours: Mapping[Any, float], theirs: Mapping[Any, float], units: Iterable[Hashable] | None = None
) -> dict[Hashable, float]:
    return {unit: ours[unit] - theirs[unit] for unit in (ours if units is None else units)}


def _by_picture(setting: Setting, seed: Hashable) -> Mapping[Any, float]:
    """Loss of each picture of the validation table, of the run of this seed."""
    of_seed = dict(zip(setting.by_seed, setting.rows, strict=True))
    return of_seed[seed].by_record()


def _few(texts: Sequence[str]) -> str:
    """These texts, or the first of them and how many more there are."""
    more = len(texts) - MOST_NAMED
    return ", ".join([*texts[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
