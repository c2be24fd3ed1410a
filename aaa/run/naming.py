"""What trackers call a run."""

import re
from collections.abc import Sequence
from pathlib import Path

from aaa.config.overrides import key_of
from aaa.tracking.printed import one_line
from aaa.tracking.recorded_overrides import overrides_of_run, overrides_of_sweep
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
        common = set(overrides_of_sweep(sweep) or ())
        told = [override for override in told if override not in common]
    parts = [name]
    for override in told:
        key, _, value = override.lstrip("+~").partition("=")
        parts.append(f"{key.rpartition('.')[2]}={value}")
    return one_line(" ".join(parts))[:MAX_LENGTH]


def overrides_of(run: Path, given: Sequence[str]) -> list[str]:
    """What the command that began a run changed, without secrets; of what it said twice the last.

    A run that is resumed keeps what it was begun with: the command that goes on with it says little.

    Args:
        run: its folder, where Hydra has left it.
        given: what this command changes, for where Hydra has not.
    """
    begun = overrides_of_run(run)
    last = {key_of(override): override for override in (given if begun is None else begun)}
    return [hide_argument(override) for override in last.values()]
