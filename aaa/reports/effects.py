"""What one swept key does to the validation loss, all else equal: averaged over the other keys, uncertain over seeds.

Seeds are drawn, and stand for all that could be; the values of the other keys were chosen, and stand for themselves. So
differences are averaged over these within each seed, and the interval is over the seeds.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any, NamedTuple

from aaa.reports.folding import by_setting, share_done, unfinished
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.labels import FEW, description, few
from aaa.reports.paired import (
    OF_THESE_MODELS,
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
from aaa.reports.work import flops_beside, with_work

LEAST_CELLS = 2  # settings of the other keys to average over; with one alone it is a difference of two settings
DEPENDS = "no one answer"
WHERE_BOTH_FINISH = "where both finish"
AVERAGED = "Averaged over the other keys within each seed or picture. [ ]: 95% interval, of each row by itself."


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
        has_failures: whether some of these are left out since runs of them diverged or are not finished.
        work: for how many FLOPs in all beside the other's, where weights that runs began from had cost some.
    """

    key: str
    value: str
    reference: str
    difference: Difference
    pairs: int
    depends: Sequence[str]
    contradicts: bool
    left_out: Sequence[str]
    has_failures: bool
    work: str = ""

    @property
    def verdict(self) -> str:
        """Which of the two is better, in words, as `Difference.verdict` says it."""
        if self.contradicts:
            return with_work(DEPENDS, self.work)
        if not self.difference.is_clear:
            return with_work(self.difference.verdict, self.work)
        told = self.difference.verdict
        return with_work(f"{told}, {WHERE_BOTH_FINISH}" if self.has_failures else told, self.work)

    @property
    def over(self) -> str:
        """What the uncertainty comes from, and how many pairs of runs."""
        return f"{self.difference.count} {self.difference.over} ({self.pairs} pairs)"

    @property
    def notes(self) -> list[str]:
        """What else has to be said of it."""
        left_out = [f"left out: {few(self.left_out)}"] if self.left_out else []
        return [f"{self.value}: {note}" for note in (*self.depends, *left_out)]


@dataclass(frozen=True)
class _Trials:
    """All runs of one setting.

    Attributes:
        members: the runs, at least one.
        setting: those that speak for it; None if none has validated.
        is_comparable: whether it was judged, if at all, by the table that the others were.
    """

    members: Sequence[Run]
    setting: Setting | None
    is_comparable: bool

    @cached_property
    def failure(self) -> str:
        """Why it is not whole, "" if it is.

        Seeds that stop are not drawn at random: those that are left would be too good.
        """
        if self.setting is None:
            return "not validated"
        if self.setting.has_diverged:
            return "diverged"
        stopped = [run for run in self.members if share_done(run) < self.done]
        lacks_seeds = any(run.config.get("seed") not in self.by_seed for run in stopped)
        return "not finished" if lacks_seeds or unfinished(self.setting.runs[0]) else ""

    @property
    def speaking(self) -> Sequence[Run]:
        """Those of the runs that speak for the setting."""
        return () if self.setting is None else self.setting.runs

    @property
    def done(self) -> float:
        """Of their steps the part after which those that speak for it have last validated."""
        return 0.0 if self.setting is None else share_done(self.setting.runs[0])

    @cached_property
    def by_seed(self) -> Mapping[Any, float]:
        """Validation loss of each seed."""
        return {} if self.setting is None else self.setting.by_seed

    def by_picture(self, seed: Hashable) -> Mapping[Any, float]:
        """Loss of each picture of the validation table, of the run of this seed."""
        rows = () if self.setting is None else self.setting.rows
        return dict(zip(self.by_seed, rows, strict=True))[seed].by_record()


@dataclass(frozen=True)
class _Pairs:
    """Two values of a key, by the settings of all other keys (a cell) and by seed.

    Attributes:
        key, value, reference: as an `Effect` has them.
        tried: how many cells have runs of both.
        cells: of each that counts, the value of each other key, as it is shown.
        distances: of each such cell, by seed or by picture, one loss less the other.
        over: `seeds` or `pictures`.
        seeds: that every cell has.
        left_out, has_failures, work: as an `Effect` has them.
    """

    key: str
    value: str
    reference: str
    tried: int
    cells: Mapping[str, Sequence[str]]
    distances: Mapping[str, Mapping[Hashable, float]]
    over: str
    seeds: frozenset[Hashable]
    left_out: Sequence[str]
    has_failures: bool
    work: str

    def averaged(self, cells: Iterable[str]) -> list[float]:
        """Of each seed or picture, always in the same order, the mean difference over these cells."""
        of_cells = [self.distances[cell] for cell in cells]
        units = next(iter(self.distances.values()))
        return [mean(of_cell[unit] for of_cell in of_cells) for unit in units]


class Effects(NamedTuple):
    """What is known of each value that was swept beside others.

    Attributes:
        found: of those that share `LEAST_CELLS` settings of the other keys or more with the reference, what each does.
        unanswered: why there is none of the others; of many the first few.
    """

    found: list[Effect]
    unanswered: list[str]


def effects(runs: Sequence[Run], baseline: str | None = None) -> Effects:
    """Of each key that was swept beside others, what each of its values does in place of the reference value.

    Args:
        runs: to compare.
        baseline: whose values are the references, as `verdicts` takes it; None for those of the first run.
    """
    found, unanswered = [], []
    for pairs in _all_pairs(runs, baseline):
        if len(pairs.cells) >= LEAST_CELLS:
            found.append(_effect(pairs))
        elif pairs.tried >= LEAST_CELLS:
            unanswered.append(
                f"{pairs.value}: no answer by itself, which takes {LEAST_CELLS} settings of the other keys "
                f"(left out: {few(pairs.left_out)})"
            )
    more = len(unanswered) - FEW
    return Effects(found, unanswered[:FEW] + ([f"{more} more values likewise"] if more > 0 else []))


def explained(found: Sequence[Effect]) -> list[str]:
    """What has to be known to read these effects."""
    return [AVERAGED, *([OF_THESE_MODELS] if any(effect.difference.over == "pictures" for effect in found) else [])]


def _all_pairs(runs: Sequence[Run], baseline: str | None) -> Iterator[_Pairs]:
    """Of each key that was swept, and each of its values but the reference, its pairs with that."""
    settings, keys = fold_seeds(runs), setting_keys(runs)
    if len(keys) < 2 or not settings:
        return
    names = short_names([*differing_keys(runs), *keys])
    against = None if baseline is None else find_setting(settings, run_named(runs, baseline))
    in_order = _trials(runs, settings, against or best_setting(settings))
    first = next(trials.setting for trials in in_order if trials.setting is not None and trials.is_comparable)
    for key in keys:
        others = [other for other in keys if other != key]
        by_value: dict[str, dict[str, _Trials]] = {}
        for trials in in_order:
            cells = by_value.setdefault(setting_of(trials.members[0], [key]), {})
            cells[setting_of(trials.members[0], others)] = trials
        reference = setting_of((against or first).runs[0], [key])
        for value, cells in by_value.items():
            if value != reference:
                yield _paired(key, cells, by_value[reference], others, names)


def _trials(runs: Sequence[Run], settings: Sequence[Setting], against: Setting) -> list[_Trials]:
    """All settings of these runs, the first runs first; comparable are those that were judged as `against` was."""
    of_run = {run.name: setting for setting in settings for run in setting.runs}
    alike = {run.name for setting in _judged_alike(settings, against) for run in setting.runs}
    found = []
    for members in by_setting(runs):
        speaking = next((of_run[run.name] for run in members if run.name in of_run), None)
        found.append(_Trials(members, speaking, speaking is None or speaking.runs[0].name in alike))
    return found


def _judged_alike(settings: Sequence[Setting], against: Setting) -> list[Setting]:
    """The settings that were judged by the table of this one, without damaged ones, whose rows are of others."""
    judged = [setting for setting in settings if setting.tables == against.tables]
    records = Counter(frozenset(rows.records) for setting in judged for rows in setting.rows)
    whole, _ = records.most_common(1)[0]
    return [setting for setting in judged if all(frozenset(rows.records) == whole for rows in setting.rows)]


def _effect(pairs: _Pairs) -> Effect:
    difference = of_distances(pairs.averaged(pairs.cells), pairs.over)
    depends, contradicts = [], False
    # One seed does not say how much of what its models differ in is chance.
    for levels in zip(*pairs.cells.values(), strict=True) if pairs.over == "seeds" else ():
        by_level: dict[str, list[str]] = {}
        for cell, level in zip(pairs.cells, levels, strict=True):
            by_level.setdefault(level, []).append(cell)
        if told := _by_level(pairs, by_level):
            is_contrary = {"helps", "hurts"} <= told.keys()
            if is_contrary or not difference.is_clear:
                where = ", ".join(f"at {few(at)} it {does}" for does, at in told.items())
                depends.append(f"{where}: {DEPENDS if is_contrary else 'not the same everywhere'}")
            contradicts = contradicts or is_contrary
    return Effect(
        pairs.key,
        pairs.value,
        pairs.reference,
        difference,
        len(pairs.cells) * len(pairs.seeds),
        depends,
        contradicts,
        pairs.left_out,
        pairs.has_failures,
        pairs.work,
    )


def _by_level(pairs: _Pairs, by_level: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What the value does for each value of another key, if it is not of one sign; nothing if that may be chance.

    The lowest and the highest effect have to differ clearly for two that were chosen among all, and one of them has to
    be clear itself.
    """
    averaged = {level: pairs.averaged(cells) for level, cells in by_level.items()}
    found = {level: of_distances(values, pairs.over) for level, values in averaged.items()}
    low, high = (end(found, key=lambda level: found[level].mean) for end in (min, max))
    distances = [a - b for a, b in zip(averaged[high], averaged[low], strict=True)]
    apart = of_distances(distances, pairs.over, among=max(1, math.comb(len(found), 2)))
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
    key: str, ours: Mapping[str, _Trials], theirs: Mapping[str, _Trials], others: list[str], names: Mapping[str, str]
) -> _Pairs:
    """The differences of two values of a key in cells that both have whole: of all seeds, finished, not diverged.

    Args:
        key: of the two.
        ours, theirs: runs of the two, by cell.
        others: the keys that make a cell.
        names: by the shown key, what is written for it.
    """
    value, reference = (description(next(iter(side.values())).members[0], [key], names) for side in (ours, theirs))
    run_of = {cell: trials.members[0] for side in (ours, theirs) for cell, trials in side.items()}
    reasons: dict[str, str] = {}
    shared: dict[str, frozenset[Hashable]] = {}
    tried: list[_Trials] = []
    for cell in run_of:
        there = {name: side[cell] for name, side in ((value, ours), (reference, theirs)) if cell in side}
        comparable = [trials for trials in there.values() if trials.is_comparable]
        tried += comparable if len(comparable) == len((value, reference)) else []
        if comparable and (why := _why_left_out(there)):
            reasons[cell] = why
        elif comparable:
            shared[cell] = frozenset.intersection(*(frozenset(trials.by_seed) for trials in comparable))
    cells, seeds = _complete(shared)
    reasons |= dict.fromkeys((cell for cell in shared if cell not in cells), "not of all seeds")
    left_out = [f"{description(run_of[cell], others, names)} ({why})" for cell, why in reasons.items()]
    further = frozenset[Hashable]().union(*(shared[cell] for cell in cells)) - seeds
    left_out += [f"seed={seed} (not everywhere)" for seed in sorted(further, key=str)]
    if len(seeds) == 1:
        (only,) = seeds
        distances = {cell: _less(ours[cell].by_picture(only), theirs[cell].by_picture(only)) for cell in cells}
    else:
        distances = {cell: _less(ours[cell].by_seed, theirs[cell].by_seed, seeds) for cell in cells}
    of_cells = {cell: [description(run_of[cell], [other], names) for other in others] for cell in cells}
    over = "pictures" if len(seeds) == 1 else "seeds"
    has_failures = any(trials.failure for trials in tried)
    both = [[run for cell in cells for run in side[cell].speaking] for side in (ours, theirs)]
    return _Pairs(
        shown_key(key),
        value,
        reference,
        len(tried) // 2,
        of_cells,
        distances,
        over,
        seeds,
        left_out,
        has_failures,
        flops_beside(*both),
    )


def _why_left_out(there: Mapping[str, _Trials]) -> str:
    """Why a cell is no pair, "" if it is one.

    Args:
        there: by the value that was compared, the runs of it; some of them are comparable.
    """
    of_table = [name for name, trials in there.items() if trials.is_comparable]
    failures = {name: trials.failure for name, trials in there.items() if trials.failure}
    if len(there) < 2:
        return f"only with {next(iter(there))}"
    if len(of_table) < 2:
        return f"of this validation table only with {of_table[0]}"
    if failures:
        by_reason = {why: [name for name in failures if failures[name] == why] for why in failures.values()}
        return ", ".join(f"{' and '.join(names)} {why}" for why, names in by_reason.items())
    if len({trials.done for trials in there.values()}) > 1:
        return "not equally far"
    if not frozenset.intersection(*(frozenset(trials.by_seed) for trials in there.values())):
        return "no seed of both"
    return ""


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
