"""Run folders, read for comparison."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from aaa.config.checks import group_options
from aaa.config.leaves import leaves
from aaa.config.overrides import as_read
from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.reports.plain import plain_number
from aaa.tracking.environment import read_environment
from aaa.tracking.tracker import METRICS, read_metrics

CONFIG = "config.yaml"
# A run has one of these beside its config; W&B's copies of configs, which have environment.json too, have neither.
BESIDE_CONFIG = (METRICS, ".hydra")
# Keys that say how and where a run was started, kept and logged, and no setting of what it learns.
IGNORED = re.compile(
    r"(name|output_dir|resume|repeat|trust_config|data\.cache_dir|encoder\.vae\.latent_(mean|std))"
    r"|(logger|sweep|checkpoint)(\..*)?|trainer\.(device|(log|sample|save)_every_steps)"
)
# Keys that the validation loss does not go by: how pictures are drawn and judged, and how often it is looked.
BESIDE_THE_LOSS = re.compile(r"seed|(sampling|evaluation)(\..*)?|trainer\.(evaluate|validate)_every_steps")


CHOICE = re.compile(r"\+{0,2}(?P<group>[a-z][a-z_/]*)(@[\w.]+)?=(?P<option>[A-Za-z_][\w./-]*)")
# Groups of which an option is no setting at all, and those that the validation loss does not go by.
OTHER_GROUPS = ("logger", "sweep")
GROUPS_BESIDE_THE_LOSS = ("sampler", "sampling", "guidance", "evaluation")


@dataclass(frozen=True)
class Run:
    """A run folder's config and metrics.

    Attributes:
        name: its path below what the compared runs have in common.
        config: leaf values by dotted key.
        metrics: rows of metrics.jsonl, oldest first.
        environment: what environment.json says.
        choices: options of config groups that it was told, by group.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    environment: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """The value of a config key, or the option of a group."""
        return self.choices.get(key, self.config.get(key))

    def setting(self, key: str) -> Any:
        """The same; of a class or function its name alone."""
        value = self.value(key)
        return str(value).rpartition(".")[2] if key.endswith("_target_") and value else value

    def last(self, metric: str) -> float | None:
        """The newest value of a metric."""
        return next((row[metric] for row in reversed(self.metrics) if metric in row), None)

    def best(self, metric: str) -> float | None:
        """The lowest value of a metric."""
        return self.best_with_step(metric)[1]

    def best_with_step(self, metric: str) -> tuple[int | None, float | None]:
        """The lowest finite value of a metric, after the step that it was measured at."""
        measured = [row for row in self.metrics if plain_number(row.get(metric)) is not None]
        best = min(measured, key=lambda row: row[metric], default=None)
        return (None, None) if best is None else (best["step"], best[metric])

    def curve(self, x: str, y: str) -> tuple[list[float], list[float]]:
        """Values of `y` against `x`: `step`, `samples`, `seconds` or `flops`. Rows without x take the last one's."""
        xs, ys, at = [], [], 0.0
        for row in self.metrics:
            at = row.get(x, at)
            if y in row:
                xs.append(at)
                ys.append(row[y])
        return xs, ys


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """All runs at or below these folders, each once, however often and by whatever links it is named.

    Raises:
        UserError: if a folder is missing, or there is no run in any of them.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: there is no such folder.")
        found = sorted(file.parent for file in path.rglob(CONFIG) if _is_run(file.parent))
        if not found:
            raise UserError(
                f"{path}: no run in it (a run folder has a {CONFIG}, and {' or '.join(BESIDE_CONFIG)} beside it)."
            )
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    common = next(iter(folders)).parent
    while not all(full.is_relative_to(common) for full in folders):
        common = common.parent
    return _without_common([_read(folder, str(full.relative_to(common))) for full, folder in folders.items()])


def differing_keys(runs: list[Run]) -> list[str]:
    """Config keys whose values are not the same in all runs.

    Without those that only say where a run is and how it is kept, and without statistics of its latents, which are
    not chosen.
    """
    keys = {key: None for run in runs for key in run.config}
    return [key for key in keys if not IGNORED.fullmatch(key) and len({repr(run.config.get(key)) for run in runs}) > 1]


def telling_keys(runs: list[Run]) -> list[str]:
    """Those of the differing keys that tell settings apart, classes first; without what follows from them.

    A noise scheduler's own arguments, say, where runs differ in the scheduler alone. Seeds are no settings. Where
    options of config groups say the same in fewer words, as `+experiment=recipe_prx` does, it is those.
    """
    return _telling(runs, [key for key in _chosen_keys(runs) if key != "seed"], OTHER_GROUPS)


def setting_keys(runs: list[Run], *, by_choice: bool = True) -> list[str]:
    """The keys that tell apart settings whose validation losses are to be compared.

    Runs that differ in others alone, such as the sampling of their pictures, are trained alike.

    Args:
        runs: to compare.
        by_choice: whether an option of a group may stand for several keys.
    """
    keys = [key for key in _chosen_keys(runs) if not BESIDE_THE_LOSS.fullmatch(key)]
    if not by_choice:
        return _telling_keys(runs, keys)
    return _telling(runs, keys, (*OTHER_GROUPS, *GROUPS_BESIDE_THE_LOSS))


def _chosen_keys(runs: list[Run]) -> list[str]:
    """Differing keys, without the steps that runs found to fit into their time, where that is the budget of all."""
    found = {"trainer.max_steps"} if all(run.config.get("budget.seconds") for run in runs) else set()
    return [key for key in differing_keys(runs) if key not in found]


def _telling(runs: list[Run], keys: list[str], but: Collection[str]) -> list[str]:
    """Those of the keys that tell settings apart; or fewer groups, but these, of which an option says as much."""
    telling = _telling_keys(runs, keys)
    groups = [group for group in _choices_alike(runs, telling) if group not in but]
    by_choice = _needed(runs, [*groups, *telling])
    return by_choice if len(by_choice) < len(telling) else telling


def _telling_keys(runs: list[Run], keys: list[str]) -> list[str]:
    telling = _needed(runs, sorted(keys, key=lambda key: not key.endswith("_target_")))
    return [key for key in keys if key in telling]


def _needed(runs: list[Run], keys: list[str]) -> list[str]:
    """Those of the keys, one after the other, that tell apart what those before do not."""
    needed: list[str] = []
    told = 1
    for key in keys:
        settings = {_setting(run, [*needed, key]) for run in runs}
        if len(settings) > told:
            needed, told = [*needed, key], len(settings)
    return needed


def _choices_alike(runs: list[Run], telling: list[str]) -> list[str]:
    """Groups of which every run was told an option, all runs of a setting the same, and those of one the same class."""
    groups = [group for group in runs[0].choices if all(group in run.choices for run in runs)] if runs else []

    def count(*keys: str) -> int:
        return len({_setting(run, list(keys)) for run in runs})

    same = {group: count(*telling, group) == count(*telling) for group in groups}
    return [group for group in groups if same[group] and count(group, f"{group}._target_") == count(group)]


def _setting(run: Run, keys: list[str]) -> str:
    return repr([run.value(key) for key in keys])


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in BESIDE_CONFIG)


def _read(folder: Path, name: str) -> Run:
    config = OmegaConf.to_container(read_yaml_config(folder / CONFIG))
    values = {key: as_read(value) for key, value in leaves(config)}
    return Run(folder, name, values, read_metrics(folder / METRICS), read_environment(folder), _choices(folder))


def _choices(folder: Path) -> dict[str, str]:
    """Options of config groups by group, as Hydra wrote down what the run was told; none where it wrote nothing."""
    file = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # the config says what the run is; this only says it in fewer words
    options: dict[str, list[str]] = {}
    groups = {*group_options(), "experiment"}
    for override in overrides if isinstance(overrides, list) else []:
        if (choice := CHOICE.fullmatch(str(override))) and choice["group"] in groups:
            options.setdefault(choice["group"], []).append(choice["option"])
    return {group: ",".join(sorted(of_group)) for group, of_group in options.items()}


def _without_common(runs: list[Run]) -> list[Run]:
    """The same, where they were told several options of a group without those that all of them were told."""
    for group in runs[0].choices:
        options = [set(run.choices.get(group, "").split(",")) for run in runs]
        common = set.intersection(*options)
        if all(of_run - common for of_run in options):
            for run, of_run in zip(runs, options, strict=True):
                run.choices[group] = ",".join(sorted(of_run - common))
    return runs
