"""Which run on W&B a run folder is: its id is kept in the folder, and the environment may name one."""

import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aaa.tracking.files import kept_text
from aaa.tracking.run_copies import copied_from
from aaa.tracking.variables import agents_run

if TYPE_CHECKING:
    from aaa.tracking.tracker import RunInfo

logger = logging.getLogger(__name__)

WANDB_ID = "wandb_id.txt"  # in a run folder


@dataclass(frozen=True)
class Identity:
    """What W&B is to call a run.

    Attributes:
        id: that no other run has.
        name: for people.
        tags: that the environment adds.
    """

    id: str
    name: str
    tags: tuple[str, ...]


def identify(run: "RunInfo") -> Identity:
    """What a run is called on W&B.

    The id is, in this order: the one that `wandb agent` has for it, the one kept in the folder, that of
    `WANDB_RUN_ID`, a new one. One that is another run's is not taken: a copy of a run folder, a second run with the
    same `WANDB_RUN_ID` and the runs of a sweep get ids of their own, with a warning.
    """
    if (wish := os.environ.get("WANDB_RESUME", "")) not in ("", "allow"):
        logger.warning("WANDB_RESUME=%s has no effect: the run folder says which run on W&B it is.", wish)
    name = os.environ.get("WANDB_NAME")
    if name and run.group is not None:  # one name for all runs of a sweep: what they differ in stays
        name += run.name.removeprefix(str(run.config.get("name", "")))
    tags = os.environ.get("WANDB_TAGS", "").split(",")
    return Identity(_id_of(run), name or run.name, tuple(tag.strip() for tag in tags if tag.strip()))


def kept_id(folder: Path) -> str | None:
    """The id of the W&B run that a run folder has been, or None if it has been none."""
    return kept_text(folder / WANDB_ID)


def _id_of(run: "RunInfo") -> str:
    kept, wanted = kept_id(run.folder), os.environ.get("WANDB_RUN_ID")
    if kept is not None and (original := copied_from(run, WANDB_ID)) is not None:
        logger.warning("%s is a copy of %s, which is W&B's run %s. It goes on as another.", run.folder, original, kept)
        kept = None
    if (agents := agents_run()) is not None:
        if kept not in (None, agents):
            logger.warning("This run was W&B's run %s. It goes on as %s, which the agent has for it.", kept, agents)
        return agents
    if kept is None and wanted:
        if run.group is not None:
            logger.warning("WANDB_RUN_ID=%s has no effect: a sweep has many runs.", wanted)
        elif (other := _with_id(run.folder, wanted)) is not None:
            logger.warning("WANDB_RUN_ID=%s has no effect: it is the id of %s.", wanted, other)
        else:
            logger.info("W&B: the run's id is that of WANDB_RUN_ID, %s.", wanted)
            return wanted
    elif wanted and wanted != kept:
        logger.warning("WANDB_RUN_ID=%s has no effect: this run has been W&B's run %s and goes on as it.", wanted, kept)
    return kept or secrets.token_hex(4)


def _with_id(folder: Path, wanted: str) -> Path | None:
    """A run folder beside this one that has been this W&B run."""
    return next((path.parent for path in folder.parent.glob(f"*/{WANDB_ID}") if kept_id(path.parent) == wanted), None)
