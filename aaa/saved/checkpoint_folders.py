"""Checkpoint folders on disk: which there are, and whether what they hold is what was written.

A checkpoint is whole if its manifest is there and every file has the size and the SHA-256 that it says. The manifest
is written last and the folder is renamed into place after that, so a process that dies leaves none that looks whole.
"""

import json
import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from aaa.data.file_hash import sha256_of
from aaa.errors import UserError
from aaa.saved.whole_folders import REMOVED

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"  # of a run folder, where all of them lie
FOLDER = re.compile(r"step-(\d{8,})")
MANIFEST, STATE, SETTINGS = "manifest.json", "state.json", "settings.json"
MODEL, AVERAGE, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.pt"
SHARDS = "shards"  # a folder: tensors that processes divided among them
OF_OBJECTIVE = "objective.safetensors"  # what its terms train of their own


def write_manifest(folder: Path) -> None:
    """Write down size and SHA-256 of every file in a folder, those in `shards/` included."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted([*folder.iterdir(), *(folder / SHARDS).glob("*")])
        if path.name != MANIFEST and path.is_file()
    }
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=2), encoding="utf-8")


def damage(folder: Path, hashed: Collection[str] | None = None) -> str | None:
    """What is wrong with a checkpoint, or None if it is whole.

    Args:
        folder: the checkpoint.
        hashed: names of the files whose content is compared; None for all. The sizes of all are.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"
    for name, (size, digest) in expected.items():
        path = folder / name
        if path.parent not in (folder, folder / SHARDS) or not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if (hashed is None or name in hashed) and sha256_of(path) != digest:
            return f"{name} is not what was written (its SHA-256 differs)"
    return None


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run folder, whole or not, newest first."""
    found = [path for path in (run / CHECKPOINTS).glob("step-*") if FOLDER.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def those_of_its_run(checkpoint: Path) -> str:
    """Names of the checkpoints that there are, for a message on one that there is not."""
    return ", ".join(path.name for path in checkpoints(checkpoint.parent.parent)) or "none"


def step_of(checkpoint: Path) -> int:
    """The number of steps in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step-"))


def bring_back_replaced(run: Path) -> None:
    """Give a checkpoint its name back where the process has died that took it away for another of the same step."""
    for removed in (run / CHECKPOINTS).glob(f"{REMOVED}step-*"):
        final = removed.with_name(removed.name.removeprefix(REMOVED))
        if final.with_name(f".{final.name}").is_dir() and not final.exists() and damage(removed) is None:
            removed.rename(final)


def newest_whole(run: Path, hashed: Collection[str] | None = None) -> Path | None:
    """The newest checkpoint of a run folder that is whole, damaged ones being named; None if there is none at all.

    Raises:
        UserError: if there are checkpoints, but none that is whole.
    """
    found = checkpoints(run)
    whole = first_whole(found, hashed)
    if found and whole is None:
        raise UserError(
            f"{run / CHECKPOINTS}: none of its {len(found)} checkpoints is whole; the warnings above say what is "
            "wrong with each. Bring one back from a copy, or move them away to start again at step 0."
        )
    return whole


def first_whole(found: Sequence[Path], hashed: Collection[str] | None = None) -> Path | None:
    """The first of these checkpoints that is whole, damaged ones before it being named; None if none is."""
    for checkpoint in found:
        if (problem := damage(checkpoint, hashed)) is None:
            return checkpoint
        logger.warning("%s is damaged: %s. Taking the one before it.", checkpoint, problem)
    return None
