"""Is one setting better than another? Differences of validation loss on the same pictures, with their uncertainty."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev

from scipy import stats

from aaa.errors import UserError
from aaa.reports.folding import by_setting, left_out, unfinished
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.labels import description, named_setting
from aaa.reports.runs import Run
from aaa.reports.same_tables import last_validations
from aaa.reports.telling import differing_keys, setting_keys
from aaa.reports.work import flops_beside, with_work
from aaa.tracking.validation_rows import ValidationRows

CONFIDENCE = 0.95
THESE_MODELS = "these models"
OF_THESE_MODELS = "Over pictures: of these very models, not of other seeds."


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: what the setting is.
        runs: of it, that speak for it: of each seed one, all equally far.
        rows: of each run, its last validation.
        left_out: by the name of each other run of it, why it does not count.
        values: by each shown key that tells it from other settings, what its value may be written as.
    """

    name: str
    runs: Sequence[Run]
    rows: Sequence[ValidationRows]
    left_out: dict[str, str] = field(default_factory=dict)
    values: Mapping[str, Sequence[object]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name, and how far its runs have come if they are not finished."""
        reached = unfinished(self.runs[0])
        return self.name if reached is None else f"{self.name} (at {reached})"

    @property
    def losses(self) -> list[float]:
        """Validation loss of each run."""
        return [mean(rows.losses) for rows in self.rows]

    @property
    def by_seed(self) -> dict[object, float]:
        """Validation loss of each seed."""
        return {run.config.get("seed"): loss for run, loss in zip(self.runs, self.losses, strict=True)}

    @property
    def tables(self) -> frozenset[str]:
        """Digests of the validation tables that its runs were judged by: one, if all is well."""
        return frozenset(rows.table for rows in self.rows)

    @property
    def has_diverged(self) -> bool:
        """Whether the validation loss of one of its runs is no finite number."""
        return not all(map(math.isfinite, self.losses))

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the validation loss over seeds, None of one run or where one has diverged."""
        return stdev(self.losses) if len(self.rows) > 1 and not self.has_diverged else None


@dataclass(frozen=True)
class Difference:
    """Validation loss of a setting less that of another.

    Attributes:
        mean: of it; below 0 if the first is better.
        low, high: ends of the interval that holds the true difference with the confidence `CONFIDENCE`.
        over: what the uncertainty comes from. `seeds`: it is that of the settings. `pictures`: of these very two
            models on other pictures; another seed may turn out otherwise.
        count: how many of those.
    """

    mean: float
    low: float
    high: float
    over: str
    count: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt which is better."""
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """Which is better, in words; over pictures it holds for these very models, whatever it comes from."""
        if not self.is_clear:
            return "cannot be told"
        told = "worse" if self.mean > 0 else "better"
        return told if self.over == "seeds" else f"{told} ({THESE_MODELS})"

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def fold_seeds(runs: Sequence[Run]) -> list[Setting]:
    """The settings of these runs, lowest mean validation loss first, those that diverged last.

    Without settings of which no run has validated.
    """
    keys = setting_keys(runs)
    names = short_names([*differing_keys(runs), *keys])
    without, last = left_out(runs), last_validations(runs)
    settings = []
    for members in by_setting(runs):
        judged = [(run, last[run.name]) for run in members if run.name not in without and run.name in last]
        if judged:
            name = description(members[0], keys, names) or judged[0][0].name
            reasons = {run.name: without[run.name] for run in members if run.name in without}
            values = {shown_key(key): _written(members, key) for key in keys}
            speaking, rows = [run for run, _ in judged], [rows for _, rows in judged]
            settings.append(Setting(name, speaking, rows, reasons, values))
    return sorted(settings, key=lambda setting: math.inf if setting.has_diverged else mean(setting.losses))


def _written(members: Sequence[Run], key: str) -> list[object]:
    """What the value of a key of these runs may be written as; of several that count as one, each."""
    own = [run.value(key) for run in members if key in run.counts_as]
    return [named_setting(members[0], key), members[0].chosen(key), *own]


def best_setting(settings: Sequence[Setting]) -> Setting:
    """The lowest loss on the validation table that most settings share: losses of other tables say nothing of it.

    Args:
        settings: at least one, as `fold_seeds` has sorted them.
    """
    judged = [setting for setting in settings if not setting.has_diverged] or settings
    shared = Counter(setting.tables for setting in judged)
    return max(judged, key=lambda setting: shared[setting.tables])


def of_one_table(runs: Sequence[Run]) -> list[Run]:
    """The runs that were judged by the table that the best setting was, and those that do not say by which."""
    settings = fold_seeds(runs)
    if not settings:
        return list(runs)
    shared, last = best_setting(settings).tables, last_validations(runs)
    return [run for run in runs if run.name not in last or last[run.name].table in shared]


def run_named(runs: Sequence[Run], wanted: str) -> str:
    """The name of the run whose folder this is, however the path is written; else what is wanted, as it is."""
    if any(run.name == wanted for run in runs):
        return wanted
    folder = os.path.realpath(wanted)
    return next((run.name for run in runs if os.path.realpath(run.folder) == folder), wanted)


def find_setting(settings: Sequence[Setting], wanted: str) -> Setting:
    """The setting of this name, or that of the run of this name, or of the only one whose name ends so.

    Of a setting also what it has of its keys, if no other has the same: `recipe_prx` of `experiment=recipe_prx`, or
    `depth=4 qk_norm=false`, in any order, by any ends of keys that no other key has.

    Raises:
        UserError: if there is none, two settings are called so, or the run does not count.
    """
    for setting in settings:
        if any(run.name == wanted for run in setting.runs):
            return setting
        if wanted in setting.left_out:
            raise UserError(f"--baseline {wanted}: that run is left out ({setting.left_out[wanted]}).")
    named = [setting for setting in settings if setting.name == wanted]
    if len(named) > 1:
        of_each = ", ".join(setting.runs[0].name for setting in named)
        raise UserError(f"--baseline {wanted}: {len(named)} settings are called so. Name a run of one: {of_each}.")
    valued = [setting for setting in settings if re.sub(r"[\w.]+=", "", setting.name) == wanted]
    ending = [setting for setting in settings if wanted and any(run.name.endswith(wanted) for run in setting.runs)]
    for found in (named, _with_values(settings, wanted), valued, ending):
        if len(found) == 1:
            return found[0]
    names = ", ".join(setting.name for setting in settings) or "no run that has validated"
    raise UserError(f"--baseline {wanted}: no such run or setting. There is: {names}.")


def _with_values(settings: Sequence[Setting], wanted: str) -> list[Setting]:
    """The settings that have all of these values; none if it is not plain of which keys they are."""
    found = list(settings)
    for word in re.split(r"\s+(?=\S+=)", wanted.strip()):
        told, is_said, value = word.partition("=")
        # As keys and groups are typed: `+experiment@_global_=recipe_prx`.
        end = shown_key(re.sub(r"^\+*|@.*", "", told))
        known = {key for setting in found for key in setting.values}
        keys = {end} & known or {key for key in known if key.endswith(f".{end}")}
        if not is_said or not end or len(keys) != 1:
            return []
        (key,) = keys
        found = [setting for setting in found if _is_value(value, setting.values[key])]
    return found


def _is_value(typed: str, written: Iterable[object]) -> bool:
    """Whether a value was typed, in one of the ways in which it may be written."""
    return any(_same(typed, value) for value in written)


def _same(typed: str, value: object) -> bool:
    if isinstance(value, bool) or value is None:
        return typed.lower() in (str(value).lower(), *(["null"] if value is None else []))
    if isinstance(value, int | float):
        try:
            return typed == f"{value:g}" or float(typed) == value
        except ValueError:
            return False
    return typed == str(value)


def difference(setting: Setting, baseline: Setting) -> Difference:
    """How much higher the validation loss of a setting is than that of a baseline.

    With several seeds on both sides, by Student's t over seeds: paired where both have the same ones, else Welch's.
    With one run a side, paired over the pictures of the validation table, of which each is judged at the same noise
    levels with the same noise.

    Raises:
        UserError: if they were not judged by one validation table, or one of them has diverged or is damaged.
    """
    for side in (setting, baseline):
        if side.has_diverged:
            raise UserError(f"{side.name} has diverged: the validation loss of a run of it is not finite.")
    if len(setting.tables | baseline.tables) > 1:
        raise UserError(
            f"{setting.name} and {baseline.name} were not validated on the same pictures, noise levels and noise: "
            "their losses cannot be compared. Train both on the same data, encoder, resolution and validation settings."
        )
    if len(setting.rows) > 1 and len(baseline.rows) > 1:
        ours, theirs = setting.by_seed, baseline.by_seed
        if ours.keys() == theirs.keys() and len(ours) == len(setting.rows) == len(baseline.rows):
            return of_distances([ours[seed] - theirs[seed] for seed in ours], "seeds")
        low, high = stats.ttest_ind(setting.losses, baseline.losses, equal_var=False).confidence_interval(CONFIDENCE)
        distance = mean(setting.losses) - mean(baseline.losses)
        return Difference(distance, float(low), float(high), "seeds", len(setting.rows) + len(baseline.rows))
    _require_same_records(setting, baseline)
    of_record, of_baseline = _mean_by_record(setting), _mean_by_record(baseline)
    return of_distances([loss - of_baseline[record] for record, loss in of_record.items()], "pictures")


def of_distances(distances: Sequence[float], over: str, among: int = 1) -> Difference:
    """The mean of differences that were found one by one, with its interval by Student's t.

    Args:
        distances: of each seed or picture one.
        over: `seeds` or `pictures`.
        among: how many such differences it was chosen from, for which the interval is widened (Bonferroni).
    """
    middle, count = mean(distances), len(distances)
    if count < 2:
        return Difference(middle, -math.inf, math.inf, over, count)
    reach = student(count - 1, among) * stdev(distances) / math.sqrt(count)
    return Difference(middle, middle - reach, middle + reach, over, count)


def student(freedom: int, among: int = 1) -> float:
    """How many standard errors an interval of the confidence `CONFIDENCE` reaches: Student's t.

    Args:
        freedom: degrees of it.
        among: how many intervals hold what they should together with that confidence (Bonferroni).
    """
    return float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / among, freedom))


def against_best(runs: Sequence[Run]) -> dict[str, str]:
    """By the name of each run, how much more loss its setting has than the best, with the interval; "" for the best.

    Where one of the two began from trained weights, also for how much work in all. Of runs that do not count, why.
    """
    settings = fold_seeds(runs)
    if not settings:
        return {}
    best = best_setting(settings)
    told: dict[str, str] = {}
    for setting in settings:
        told |= dict.fromkeys((run.name for run in setting.runs), _told(setting, best)) | setting.left_out
    return told


def _told(setting: Setting, best: Setting) -> str:
    if setting.has_diverged:
        return "diverged"
    if setting is best:
        return ""
    if len(setting.tables | best.tables) > 1:
        return "other table"
    try:
        return with_work(str(difference(setting, best)), flops_beside(setting.runs, best.runs))
    except UserError as error:  # one of them is damaged, which ends no comparison of the others
        return str(error)


def _require_same_records(setting: Setting, baseline: Setting) -> None:
    """Refuse rows that say they are of one table, and are not: they were changed after they were written."""
    (first, of_first), *others = [
        (run, rows) for side in (baseline, setting) for run, rows in zip(side.runs, side.rows, strict=True)
    ]
    for run, rows in others:
        if set(rows.records) != set(of_first.records):
            raise UserError(
                f"{run.name} and {first.name}: what they have in validation/ says that it is of the same pictures, and "
                "is of others. One of them is damaged; compare the other without it."
            )


def _mean_by_record(setting: Setting) -> dict[str, float]:
    """Mean loss of each record, over the setting's runs."""
    of_runs = [rows.by_record() for rows in setting.rows]
    return {record: mean(of_run[record] for of_run in of_runs) for record in of_runs[0]}
