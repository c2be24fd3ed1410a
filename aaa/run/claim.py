"""Whose a folder is: a second run in it is refused before anything of the first is overwritten.

Nothing here loads torch: Hydra writes its copy of the config into the folder before the run itself begins, so the
folder has to be looked at before that.
"""

import logging
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from aaa.config.commands import train_command
from aaa.errors import UserError
from aaa.tracking.printed import shown
from aaa.tracking.recorded_overrides import MULTIRUN, OVERRIDES, overrides_of_run, own_overrides
from aaa.tracking.variables import is_helper
from aaa.tracking.wandb_identity import WANDB_ID

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

LOCK = ".lock"
BEGINNING = Path("outputs/.beginning.lock")
MOST_SECONDS_TO_BEGIN = 60  # composing a config takes 2
LEFT_BY_STEPS = ("metrics.jsonl", "checkpoints/step-*", "model/config.json", "samples/step-*", "validation/step-*")

LEFT_BY_START = {".hydra", LOCK, "train.log"}
# As conf/train.yaml calls a folder that nobody has named.
BY_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")

_claimed: dict[Path, FileLock] = {}
_refused: dict[Path, str] = {}  # folders that jobs of this process were refused, with the reason
_beginning: list[FileLock] = []


def holds_run(folder: Path) -> bool:
    """Whether a run has taken steps in this folder; one that died before its first has left nothing to lose."""
    return any(path.is_dir() or path.stat().st_size for pattern in LEFT_BY_STEPS for path in folder.glob(pattern))


def claim(folder: Path, resume: str | None, overrides: Sequence[str]) -> None:
    """Take a folder for a run of this process, until `release`; once more is no different.

    Args:
        folder: made if it is not there.
        resume: what the run is to go on with: a folder, `auto`, or None for a new run.
        overrides: of the run.

    Raises:
        UserError: if another process has it, or it holds a run that this one does not go on with.
    """
    folder = folder.absolute()
    if folder in _claimed:
        return
    if folder in _refused:
        raise UserError(_refused[folder])
    folder.mkdir(parents=True, exist_ok=True)
    lock_folder(
        folder,
        "another run is training in this folder right now. Wait until it ends, or stop it, which saves where it is.",
    )
    try:
        _refuse_other_run(folder, resume, overrides)
    except UserError:
        release(folder)
        raise


def claim_for_job(folder: Path, resume: str | None, overrides: Sequence[str]) -> bool:
    """The same for a job of a sweep, before Hydra writes in the folder; whether it may.

    Where it may not, it is the job that is refused, once it begins and asks for the folder, so that those after it have
    their turn: what goes wrong before a job begins ends the sweep.
    """
    _refused.pop(folder.absolute(), None)
    try:
        claim(folder, resume, overrides)
    except UserError as error:
        _refused[folder.absolute()] = str(error)
        return False
    return True


def is_of_others(folder: Path) -> bool:
    """Whether a job of this process was refused the folder, in which it is to write nothing, then."""
    return folder.absolute() in _refused


def wait_for_beginners() -> None:
    """Look for a run to go on with when no other process of this working folder is between looking and beginning one.

    Else two that start in the same second both find none, and train the same run twice. It lasts until `have_begun`,
    or until this process ends. Where no file can be made it is left at that.
    """
    with suppress(OSError):
        BEGINNING.parent.mkdir(exist_ok=True)
        lock = FileLock(BEGINNING.absolute(), mode=0o666)
        _beginning.append(lock)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print("Waiting for another start in this folder to find its run ...", file=sys.stderr)
            with suppress(Timeout):  # whoever looks for so long is not about to begin
                lock.acquire(timeout=MOST_SECONDS_TO_BEGIN)


def have_begun() -> None:
    """Let others look: what they are to find is in its folder."""
    while _beginning:
        _beginning.pop().release()


def require_own_folder(config: "DictConfig") -> None:
    """Refuse a folder that Hydra does not know of.

    Raises:
        UserError: with the key that sets it.
    """
    if Path(config.output_dir).absolute() != Path(HydraConfig.get().runtime.output_dir) and not is_helper():
        raise UserError(
            f"output_dir={config.output_dir}: the folder of a run is set by hydra.run.dir={config.output_dir}"
        )


def release(folder: Path) -> None:
    """Let others have the folder."""
    lock = _claimed.pop(folder.absolute(), None)
    if lock is not None:
        lock.release()


def forget_start(folder: Path) -> None:
    """Remove the new folder of a run that was refused, where it holds nothing but what Hydra and we begin with.

    One that another process has is left alone: `resume=auto` may have met a run that is still encoding.
    """
    if not BY_TIME.fullmatch(folder.name):
        return
    release(folder)
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            if {path.name for path in folder.iterdir()} - LEFT_BY_START:
                return
            close_log(folder)
            if sys.platform != "win32":
                shutil.rmtree(folder)
    except Timeout:
        return
    if sys.platform == "win32":  # which removes no lock that is held
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # other runs are in it
        folder.parent.rmdir()
        folder.parent.parent.rmdir()


def close_log(folder: Path) -> None:
    """Write nothing more into the log of a folder."""
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).is_relative_to(folder):
            root.removeHandler(handler)
            handler.close()


def claimed_sweep() -> Path | None:
    """The folder of the sweep that this process has begun, if it has."""
    return next((folder for folder in _claimed if (folder / MULTIRUN).is_file()), None)


def lock_folder(folder: Path, taken: str) -> None:
    """Take a folder for this process, until `release`.

    Args:
        folder: that is there.
        taken: what is said where another process has it.

    Raises:
        UserError: if another process has it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{shown(folder)}: {taken}") from None
    _claimed[folder] = lock


def _refuse_other_run(folder: Path, resume: str | None, overrides: Sequence[str]) -> None:
    if resume not in (None, "auto"):
        return
    if (folder / MULTIRUN).is_file():
        raise UserError(
            f"{shown(folder)}: this folder holds a sweep.\n  To go on with one of its runs: "
            f"{_resume(folder / 'NUMBER')}{elsewhere('hydra.run.dir')}"
        )
    same = own_overrides(overrides_of_run(folder)) == own_overrides(overrides)
    if holds_run(folder):
        if resume == "auto" and same:
            return
        raise UserError(
            f"{shown(folder)}: this folder holds a run already, which another one would overwrite.\n"
            f"  To go on with it: {_resume(folder)}{elsewhere('hydra.run.dir (of a sweep hydra.sweep.*)')}"
        )
    if (folder / OVERRIDES).is_file():
        logger.info("%s: the run that was begun in this folder has taken no step; it is begun anew.", shown(folder))
        if not same:  # the next one would go on with its run on W&B
            (folder / WANDB_ID).unlink(missing_ok=True)


def _resume(folder: Path) -> str:
    return train_command(resume=shown(folder))


def elsewhere(key: str) -> str:
    """The end of a refusal: how this key gives a new folder."""
    return f"\n  For a new folder: leave out {key}, or name one that is not there yet."


def _once_claimed(subfolder: str, folder: str, *, _root_: Any) -> str | None:
    """`subfolder`, once `folder` is known to be this run's: Hydra asks for it right before it writes there.

    None, so that it does not, for a job of a sweep whose folder is another's.
    """
    asked = Path(folder), _root_.resume, list(_root_.hydra.overrides.task)
    if _root_.hydra.mode is RunMode.MULTIRUN:
        return subfolder if claim_for_job(*asked) else None
    claim(*asked)
    return subfolder


OmegaConf.register_new_resolver("claimed", _once_claimed, replace=True)
