"""What Hydra has written down of the commands that began runs and sweeps."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from aaa.tracking.redaction import HIDDEN, hide_argument

OVERRIDES = ".hydra/overrides.yaml"  # of a run, in its folder
MULTIRUN = "multirun.yaml"  # of a sweep, in its folder
UNREADABLE = "(damaged)"
BESIDE_WHAT_IS_RUN = re.compile(r"[+~]*(hydra[./]|resume=|sweep\.resume=)")


def overrides_of_run(folder: Path) -> list[str] | None:
    """What the command that began a run changed; None where nothing that can be read says so."""
    return _as_texts(_read(folder / OVERRIDES))


def overrides_of_sweep(folder: Path) -> list[str] | None:
    """What the command of a sweep said once for all its runs, and what it swept over; None likewise."""
    try:
        return _as_texts(_read(folder / MULTIRUN)["hydra"]["overrides"]["task"])
    except (TypeError, KeyError):
        return None


def lies_in_sweep(run: Path) -> bool:
    """Whether a run's folder is one of a sweep's."""
    return (run.parent / MULTIRUN).is_file()


def own_overrides(arguments: Iterable[str] | None) -> list[str]:
    """What a command is told to run, without flags, secrets, and words on where and with which earlier run.

    Args:
        arguments: of the command; None, as recorded ones may be, is like no command's.
    """
    if arguments is None:
        return [UNREADABLE]
    return [a for a in arguments if not a.startswith("-") and not BESIDE_WHAT_IS_RUN.match(a) and not _is_hidden(a)]


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def _as_texts(recorded: Any) -> list[str] | None:
    return [str(override) for override in recorded] if isinstance(recorded, list) else None


def _is_hidden(argument: str) -> bool:
    return hide_argument(argument) != argument or argument.endswith(f"={HIDDEN}")
