"""Run folders, read for comparison."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

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


@dataclass(frozen=True)
class Run:
    """A run folder's config and metrics.

    Attributes:
        name: its path below what the compared runs have in common.
        config: leaf values by dotted key.
        metrics: rows of metrics.jsonl, oldest first.
        environment: what environment.json says.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    environment: dict[str, Any] = field(default_factory=dict)

    def setting(self, key: str) -> Any:
        """The value of a config key; of a class or function its name alone."""
        value = self.config.get(key)
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
    return [_read(folder, str(full.relative_to(common))) for full, folder in folders.items()]


def differing_keys(runs: list[Run]) -> list[str]:
    """Config keys whose values are not the same in all runs.

    Without those that only say where a run is and how it is kept, and without statistics of its latents, which are
    not chosen.
    """
    keys = {key: None for run in runs for key in run.config}
    return [key for key in keys if not IGNORED.fullmatch(key) and len({repr(run.config.get(key)) for run in runs}) > 1]


def telling_keys(runs: list[Run]) -> list[str]:
    """Those of the differing keys that tell settings apart, classes first; without what follows from them.

    A noise scheduler's own arguments, say, where runs differ in the scheduler alone. Seeds are no settings.
    """
    return _telling(runs, [key for key in differing_keys(runs) if key != "seed"])


def setting_keys(runs: list[Run]) -> list[str]:
    """The keys that tell apart settings whose validation losses are to be compared.

    Runs that differ in others alone, such as the sampling of their pictures, are trained alike. Where time is the
    budget, so is how many steps each run found to fit into it.
    """
    keys = [key for key in differing_keys(runs) if not BESIDE_THE_LOSS.fullmatch(key)]
    if all(run.config.get("budget.seconds") for run in runs):
        keys = [key for key in keys if key != "trainer.max_steps"]
    return _telling(runs, keys)


def _telling(runs: list[Run], keys: list[str]) -> list[str]:
    telling: list[str] = []
    told = 1
    for key in sorted(keys, key=lambda key: not key.endswith("_target_")):
        settings = {repr([run.config.get(other) for other in (*telling, key)]) for run in runs}
        if len(settings) > told:
            telling, told = [*telling, key], len(settings)
    return [key for key in keys if key in telling]


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in BESIDE_CONFIG)


def _read(folder: Path, name: str) -> Run:
    config = OmegaConf.to_container(read_yaml_config(folder / CONFIG))
    values = {key: as_read(value) for key, value in leaves(config)}
    return Run(folder, name, values, read_metrics(folder / METRICS), read_environment(folder))
