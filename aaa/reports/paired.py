"""Is one setting better than another? Differences of validation loss on the same pictures, with their uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy import stats

from aaa.errors import UserError
from aaa.reports.runs import Run, telling_keys
from aaa.tracking.validation_rows import ValidationRows, newest_rows

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: what the setting is.
        runs: of it.
        rows: of each run, its last validation.
    """

    name: str
    runs: Sequence[Run]
    rows: Sequence[ValidationRows]

    @property
    def losses(self) -> list[float]:
        """Validation loss of each run."""
        return [mean(rows.losses) for rows in self.rows]

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the validation loss over seeds, None of one run."""
        return stdev(self.losses) if len(self.rows) > 1 else None


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

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def fold_seeds(runs: Sequence[Run]) -> list[Setting]:
    """The settings of these runs, lowest mean validation loss first; without runs that have not validated."""
    keys = telling_keys(list(runs))
    folded: dict[str, list[tuple[Run, ValidationRows]]] = {}
    for run in runs:
        last_step = max((row["step"] for row in run.metrics), default=0)
        if (rows := newest_rows(run.folder, last_step)) is not None:
            values = repr([run.config.get(key) for key in keys])
            folded.setdefault(values, []).append((run, rows))
    settings = []
    for members in folded.values():
        of_it = [run for run, _ in members]
        described = " ".join(
            f"{key.removesuffix('._target_').rpartition('.')[2]}={_say(of_it[0], key)}" for key in keys
        )
        name = described or of_it[0].name
        settings.append(Setting(name, of_it, [rows for _, rows in members]))
    return sorted(settings, key=lambda setting: mean(setting.losses))


def find_setting(settings: Sequence[Setting], wanted: str) -> Setting:
    """The setting of this name, or that of the run of this name.

    Raises:
        UserError: if there is none.
    """
    for setting in settings:
        if wanted == setting.name or any(wanted in (run.name, str(run.folder)) for run in setting.runs):
            return setting
    names = ", ".join(setting.name for setting in settings) or "no run that has validated"
    raise UserError(f"--baseline {wanted}: no such run or setting. There is: {names}.")


def difference(setting: Setting, baseline: Setting) -> Difference:
    """How much higher the validation loss of a setting is than that of a baseline.

    With several seeds on both sides, by Student's t over seeds: paired where both have the same ones, else Welch's.
    With one run a side, paired over the pictures of the validation table, of which each is judged at the same noise
    levels with the same noise.

    Raises:
        UserError: if they were not judged by one validation table.
    """
    tables = {rows.table for rows in (*setting.rows, *baseline.rows)}
    if len(tables) > 1:
        raise UserError(
            f"{setting.name} and {baseline.name} were not validated on the same pictures, noise levels and noise: "
            "their losses cannot be compared. Train both on the same data, encoder, resolution and validation settings."
        )
    if len(setting.rows) > 1 and len(baseline.rows) > 1:
        ours, theirs = _by_seed(setting), _by_seed(baseline)
        if ours.keys() == theirs.keys() and len(ours) == len(setting.rows) == len(baseline.rows):
            return _paired([ours[seed] for seed in ours], [theirs[seed] for seed in ours], "seeds")
        low, high = stats.ttest_ind(setting.losses, baseline.losses, equal_var=False).confidence_interval(CONFIDENCE)
        distance = mean(setting.losses) - mean(baseline.losses)
        return Difference(distance, float(low), float(high), "seeds", len(setting.rows) + len(baseline.rows))
    of_record, of_baseline = _mean_by_record(setting), _mean_by_record(baseline)
    return _paired(list(of_record.values()), [of_baseline[record] for record in of_record], "pictures")


def against_best(runs: Sequence[Run]) -> dict[str, str]:
    """By the name of each run, how much more loss its setting has than the best, with the interval; "" for the best."""
    settings = fold_seeds(runs)
    told: dict[str, str] = {}
    for setting in settings[1:]:
        try:
            found = str(difference(setting, settings[0]))
        except UserError:
            found = "other table"
        told |= {run.name: found for run in setting.runs}
    return {run.name: "" for run in settings[0].runs} | told if settings else {}


def _paired(ours: Sequence[float], theirs: Sequence[float], over: str) -> Difference:
    distances = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(distances) < 2 or stdev(distances) == 0:
        spread = 0.0 if len(distances) > 1 else float("inf")
        return Difference(mean(distances), mean(distances) - spread, mean(distances) + spread, over, len(distances))
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(CONFIDENCE)
    return Difference(mean(distances), float(low), float(high), over, len(distances))


def _by_seed(setting: Setting) -> dict[object, float]:
    return {run.config.get("seed"): loss for run, loss in zip(setting.runs, setting.losses, strict=True)}


def _mean_by_record(setting: Setting) -> dict[str, float]:
    """Mean loss of each record, over the setting's runs."""
    of_runs = [rows.by_record() for rows in setting.rows]
    return {record: mean(of_run[record] for of_run in of_runs) for record in of_runs[0]}


def _say(run: Run, key: str) -> str:
    value = run.setting(key)
    return f"{value:g}" if isinstance(value, float) else str(value)
