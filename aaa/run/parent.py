"""The record of where a run comes from: what it went on with or repeats, and whether that ran on the same things."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from aaa.saved.checkpoint_folders import step_of
from aaa.tracking.environment import read_environment
from aaa.tracking.variables import numerical

logger = logging.getLogger(__name__)

SAME = "as in the session after this one"
COMPARED = ("python", "packages", "device", "variables", "git", "data")


def parent_run(folder: Path, config: DictConfig, checkpoint: Path | None) -> dict[str, Any]:
    """What environment.json says of the run before this one: `parent`, and of a resumed run its `earlier` sessions.

    Args:
        folder: of this run.
        config: says whether it was resumed, repeats another or starts from its weights.
        checkpoint: that it goes on from, or None.
    """
    if checkpoint is not None and checkpoint.parent.parent != folder:
        run = checkpoint.parent.parent
        return {"parent": {"how": "repeat", "run": str(run), "step": step_of(checkpoint)}, "earlier": []}
    if checkpoint is not None:
        before = read_environment(folder)
        earlier = before.pop("earlier", [])
        if earlier and earlier[-1].get("git") == before.get("git"):  # a diff may be large, and sessions many
            earlier[-1]["git"] = SAME
        parent = {"how": "resume", "run": str(folder), "step": step_of(checkpoint)}
        return {"parent": parent, "earlier": [*earlier, before]}
    for how in ("repeat", "init_from"):
        if config[how] is not None:
            return {"parent": {"how": how, "run": str(config[how])}, "earlier": []}
    return {"parent": None, "earlier": []}


def warn_of_differences(environment: dict[str, Any]) -> None:
    """Say in one warning what is not as it was where this run comes from: its numbers may differ for that."""
    parent = environment["parent"]
    if parent is None or parent["how"] == "init_from":
        return
    before = environment["earlier"][-1] if parent["how"] == "resume" else read_environment(Path(parent["run"]))
    if differences := _differences(before, environment):
        logger.warning(
            "%s ran with something else, so that numbers may differ: %s.", parent["run"], "; ".join(differences)
        )


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    for key in COMPARED:
        old, new = before.get(key), now.get(key)
        if key == "git":
            old, new = ((state or {}).get("commit") for state in (old, new))
            if old is not None and old == new and _changed(before["git"], now["git"]):
                found.append("uncommitted changes differ")
        if key == "variables" and old is not None and new is not None:
            old, new = numerical(old), numerical(new)
            new = dict.fromkeys(old) | new
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]
        elif old is not None and old != new:
            found.append(f"{key} {old} -> {new}")
    return found


def _changed(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether uncommitted changes are others; of new files earlier versions tell nothing."""
    return any(before[key] != now.get(key) for key in ("diff", "new") if key in before)
