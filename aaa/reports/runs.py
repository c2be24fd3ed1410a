"""Run folders, read for comparison."""

import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config.groups import group_options
from aaa.config.leaves import leaves
from aaa.config.overrides import as_read, key_of
from aaa.config.trust import read_yaml_config
from aaa.config.upgrade import fill_in, upgrade
from aaa.errors import UserError
from aaa.reports.counting_keys import BESIDE_THE_LOSS, IGNORED, OF_SPEED, compared_value
from aaa.reports.first_weights import Beginning, counted_as
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.plain import plain_number
from aaa.tracking.environment import read_environment
from aaa.tracking.recorded_overrides import overrides_of_run
from aaa.tracking.stages import Stage, in_all, read_stages
from aaa.tracking.tracker import METRICS, last_of, read_metrics
from aaa.tracking.validation_rows import ValidationRows, newest_rows

CONFIG = "config.yaml"
# A run has one of these beside its config; W&B's copies of configs, which have environment.json too, have neither.
BESIDE_CONFIG = (METRICS, ".hydra")
BESIDE_RUNS = ("checkpoints", "samples", "validation", "wandb", ".hydra")  # folders of a run that hold no others
MAX_STEPS, INIT_FROM = "trainer.max_steps", "init_from"
RATE = "perf/images_per_second"  # of the last few steps
# What Hydra writes down of an option of a group: `+experiment@_global_=recipe_prx`.
CHOICE = re.compile(r"\+{0,2}(?P<group>[a-z][a-z_/]*)(@[\w.]+)?=(?P<option>[A-Za-z_][\w./-]*)")


@dataclass(frozen=True)
class Run:
    """A run folder's config and metrics.

    Attributes:
        name: its path below what the compared runs have in common.
        config: leaf values by dotted key.
        metrics: rows of metrics.jsonl, oldest first.
        environment: what environment.json says.
        choices: options of config groups that it was told, by group.
        typed: what it was told, by group and key; None where that is not known: of a run that nobody wrote it down of,
            that repeats another, or that went on with other settings.
        counts_as: by key, what its value counts as where settings are told apart; of others it is the value.
        called: by key, what each class and function of it is called: the last part of its path, and as much more as
            tells it from those of the compared runs.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    environment: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    typed: Mapping[str, str] | None = None
    counts_as: Mapping[str, str] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def validation(self) -> ValidationRows | None:
        """The last validation, row by row; None of a run that has none. It is read when it is first asked for."""
        return newest_rows(self.folder, max((row["step"] for row in self.metrics), default=0))

    @cached_property
    def measured(self) -> Collection[str]:
        """Names of all metrics that some row has, in the order in which they were first measured."""
        return dict.fromkeys(name for row in self.metrics for name in row)

    @cached_property
    def stages(self) -> list[Stage]:
        """Of training before it, whose weights it began from; none of a run that began from random ones."""
        return read_stages(self.environment, self.config.get(INIT_FROM))

    def before(self, axis: str) -> float | None:
        """What those had cost: `step`, `samples`, `seconds` or `flops`, 0 of none; None where that is not known."""
        return in_all(self.stages, axis)

    def in_all(self, axis: str) -> float | None:
        """The same with its own; None where either is not known."""
        before, own = self.before(axis), plain_number(self.last(axis))
        return None if before is None or own is None else before + own

    @property
    def parameters(self) -> float | None:
        """How many its model has, None if its environment.json does not say."""
        model = self.environment.get("model")
        return plain_number(model.get("parameters")) if isinstance(model, dict) else None

    def value(self, key: str) -> Any:
        """The value of a config key, or the option of a group."""
        return self.choices.get(key, self.config.get(key))

    def chosen(self, key: str) -> Any:
        """The same, as settings are told apart by it: None of the steps that it found to fit into its time."""
        if key == MAX_STEPS and self.config.get("budget.seconds"):
            return None
        return self.counts_as.get(key, self.value(key))

    def setting(self, key: str) -> Any:
        """The value of a config key or the option of a group, as it is shown: of a class or function its name alone."""
        value = self.value(key)
        named = str(value).rpartition(".")[2] if key.endswith("_target_") and value else value
        return self.called.get(key, named)

    def last(self, metric: str) -> float | None:
        """The newest value of a metric."""
        return last_of(self.metrics, metric)

    def outcome(self, metric: str) -> float | None:
        """What a metric has come to: its newest value, of images a second those over all of the training."""
        samples, seconds = (plain_number(self.last(name)) for name in ("samples", "seconds"))
        return samples / seconds if metric == RATE and samples and seconds else self.last(metric)

    @property
    def loss(self) -> float | None:
        """The last validation loss; None if it is not finite, or there is none."""
        return plain_number(self.last("val/loss"))

    def best(self) -> float | None:
        """The lowest validation loss."""
        return self.best_with_step()[1]

    def best_with_step(self) -> tuple[int | None, float | None]:
        """The lowest finite validation loss, after the step that it was measured at."""
        validated = [row for row in self.metrics if plain_number(row.get("val/loss")) is not None]
        best = min(validated, key=lambda row: row["val/loss"], default=None)
        return (None, None) if best is None else (best["step"], best["val/loss"])

    def curve(self, x: str, y: str) -> tuple[list[float], list[float]]:
        """Values of `y` against `x`: `step`, `samples`, `seconds` or `flops`. Rows without x take the last one's.

        Of a run that began from trained weights the curve begins where these ended, if that is known.
        """
        xs, ys, at, before = [], [], 0.0, self.before(x) or 0
        for row in self.metrics:
            at = row.get(x, at)
            if y in row:
                xs.append(at + before if before else at)
                ys.append(row[y])
        return xs, ys


def by_loss(run: Run) -> float:
    """The last validation loss to sort runs by: those without a finite one come last."""
    loss = run.loss
    return math.inf if loss is None else loss


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """All runs at or below these folders, each once, however often and by whatever links it is named.

    Raises:
        UserError: if a folder is missing, or there is no run in any of them.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: there is no such folder.")
        found = sorted(_run_folders(path))
        if not found:
            raise UserError(
                f"{path}: no run in it (a run folder has a {CONFIG}, and {' or '.join(BESIDE_CONFIG)} beside it)."
            )
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    common = next(iter(folders)).parent
    while not all(full.is_relative_to(common) for full in folders):
        common = common.parent
    groups = group_options()
    told = [overrides_of_run(folder) for folder in folders.values()]
    choices = _choices([_options(overrides or [], groups) for overrides in told])
    runs = [
        _read(folder, str(full.relative_to(common)), chosen, overrides)
        for (full, folder), chosen, overrides in zip(folders.items(), choices, told, strict=True)
    ]
    return _with_names_of_classes(_with_seeds_of_stages_folded(runs))


def _run_folders(path: Path) -> Iterable[Path]:
    """All run folders at or below this one. A folder that goes meanwhile, as old checkpoints do, is passed over."""
    for name, below, files in os.walk(path):
        folder = Path(name)
        if CONFIG in files and any((folder / other).exists() for other in BESIDE_CONFIG):
            below[:] = [inner for inner in below if inner not in BESIDE_RUNS]
            yield folder


def _read(folder: Path, name: str, choices: dict[str, str], told: list[str] | None) -> Run:
    path = folder / CONFIG
    written = path.stat()
    values = dict(_values(path, written.st_mtime_ns, written.st_size))
    environment = read_environment(folder)
    typed = None if told is None else {key_of(override): override.partition("=")[2] for override in told}
    if typed is not None and ("repeat" in typed or environment.get("changed")):
        typed = None
    return Run(folder, name, values, read_metrics(folder / METRICS), environment, choices, typed)


def _with_seeds_of_stages_folded(runs: Sequence[Run]) -> list[Run]:
    """The runs, told what their `init_from` counts as, where that is not their path."""
    counted = counted_as(
        {
            run.name: Beginning(str(run.config.get(INIT_FROM)), run.stages, run.config.get("seed"), _setting_but(run))
            for run in runs
            if run.stages
        }
    )
    return [
        replace(run, counts_as={INIT_FROM: counted[run.name]})
        if run.name in counted and counted[run.name] != str(run.config.get(INIT_FROM))
        else run
        for run in runs
    ]


def _setting_but(run: Run) -> str:
    """Equal for runs that differ in nothing that is learned by but their seed and their first weights."""
    keys = [
        key
        for key in sorted(run.config)
        if key != INIT_FROM
        and not any(beside.fullmatch(key) for beside in (IGNORED, BESIDE_THE_LOSS))
        and (run.config.get("budget.seconds") or not OF_SPEED.fullmatch(key))
        and run.chosen(key) is not None
    ]
    return compared_value([[key, run.chosen(key)] for key in keys])


def _with_names_of_classes(runs: Sequence[Run]) -> list[Run]:
    classes = [
        {key: shown_key(str(value)) for key, value in run.config.items() if key.endswith("_target_") and value}
        for run in runs
    ]
    keys = dict.fromkeys(key for of_run in classes for key in of_run)
    names = {key: short_names(of_run[key] for of_run in classes if key in of_run) for key in keys}
    return [
        replace(run, called={key: names[key][path] for key, path in of_run.items()})
        for run, of_run in zip(runs, classes, strict=True)
    ]


@cache  # most of what a look at many runs takes, and they are looked at again and again
def _values(path: Path, _mtime_ns: int, _size: int) -> Mapping[str, Any]:
    """What a run's config says, by key, with what it says by not saying it.

    Args:
        path: of the file.
        _mtime_ns, _size: of it: another file is read anew.
    """
    config = upgrade(read_yaml_config(path))
    fill_in(config)
    return _by_key(config)


def _by_key(config: DictConfig) -> dict[str, Any]:
    """The values of a config by key; what refers to a value that is not there stays as it is written."""
    values = {}
    for key, value in leaves(OmegaConf.to_container(config)):
        refers = isinstance(value, str) and "${" in value
        with suppress(OmegaConfBaseException):
            values[key] = as_read(OmegaConf.select(config, key) if refers else value)
        values.setdefault(key, value)
    return values


def _options(overrides: Iterable[str], groups: Collection[str]) -> dict[str, set[str]]:
    """Options of config groups among them, by group."""
    options: dict[str, set[str]] = {}
    for override in overrides:
        if (choice := CHOICE.fullmatch(override)) and choice["group"] in groups:
            options.setdefault(choice["group"], set()).add(choice["option"])
    return options


def _choices(told: list[dict[str, set[str]]]) -> list[dict[str, str]]:
    """What each run was told of a group, where it was several things without those that all were told."""
    common = {group: set.intersection(*(of_run.get(group, set()) for of_run in told)) for group in told[0]}
    return [
        {group: ",".join(sorted((options - common.get(group, set())) or options)) for group, options in of_run.items()}
        for of_run in told
    ]
