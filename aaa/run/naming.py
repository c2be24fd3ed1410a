"""What trackers call a run."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from aaa.run.earlier_run import OVERRIDES
from aaa.run.earlier_sweep import MULTIRUN
from aaa.tracking.printed import one_line
from aaa.tracking.redaction import hide_argument

MAX_LENGTH = 120
UNTOLD = re.compile(r"[+~]*(hydra[./]|name=|resume=|repeat=|logger|sweep[=.]|trust_config)")


def run_name(name: str, overrides: Sequence[str], sweep: Path | None) -> str:
    """The config's name and what the command changed: `shapes-dit_tiny depth=4 optimizer=adamw`.

    In a sweep only what its runs differ in is said, where the sweep's folder tells.

    Args:
        name: of the config.
        overrides: of this run.
        sweep: the folder of the sweep that it belongs to, or None.
    """
    told = [override for override in overrides if not UNTOLD.match(override)]
    if sweep is not None:
        common = _common_to(sweep)
        told = [override for override in told if override not in common]
    parts = [name]
    for override in told:
        key, _, value = override.lstrip("+~").partition("=")
        parts.append(f"{key.rpartition('.')[2]}={value}")
    return one_line(" ".join(parts))[:MAX_LENGTH]


def overrides_of(run: Path, given: Sequence[str]) -> list[str]:
    """What the command that began a run changed, without secrets.

    A run that is resumed keeps what it was begun with: the command that goes on with it says little.

    Args:
        run: its folder, where Hydra has left it.
        given: what this command changes, for where Hydra has not.
    """
    try:
        begun = yaml.safe_load((run / OVERRIDES).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        begun = None
    return [hide_argument(str(override)) for override in (begun if isinstance(begun, list) else given)]


def _common_to(sweep: Path) -> set[str]:
    """What the command of a sweep said once for all its runs."""
    try:
        config = yaml.safe_load((sweep / MULTIRUN).read_text(encoding="utf-8"))
        return {str(override) for override in config["hydra"]["overrides"]["task"]}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return set()
