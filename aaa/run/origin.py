"""Where a run begins: the folder that it has for itself, and what it goes on with or repeats."""

import logging
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from omegaconf import DictConfig

from aaa.run.folder import RunFolder
from aaa.run.going_on import Before, branch_checkpoint, read_before
from aaa.run.processes import of_first_process
from aaa.run.session import Session
from aaa.saved.checkpoint_folders import newest_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a run begins.

    Attributes:
        folder: of the run.
        before: the checkpoint that it goes on from and the run behind it, or None.
        branches_off: whether it goes on in a folder of its own from another run's checkpoint.
        earlier_run: folder of the run that is gone on with or repeated, or None.
    """

    folder: RunFolder
    before: Before | None
    branches_off: bool
    earlier_run: Path | None

    @property
    def samples(self) -> int:
        """That were trained on before."""
        return 0 if self.before is None else self.before.samples


def open_origin(config: DictConfig, session: Session) -> Origin:
    """Claim the run's folder, and find the checkpoint to go on from.

    Raises:
        UserError: if the folder is another run's, or a checkpoint that is named is damaged.
    """
    resumed = config.resume is not None
    folder = RunFolder(Path(config.output_dir), session.accelerator, going_on=resumed)
    checkpoint = _newest_checkpoint(folder, config.resume, session.accelerator)
    branch = None if checkpoint is not None else branch_checkpoint(config.repeat)
    begin = checkpoint or branch
    before = None if begin is None else read_before(begin)
    repeated = None if config.repeat is None else Path(config.repeat)
    earlier_run = folder.path if resumed else repeated if before is None else before.run
    return Origin(folder, before, branch is not None, earlier_run)


def _newest_checkpoint(folder: RunFolder, resume: str | None, accelerator: Accelerator) -> Path | None:
    """The newest whole checkpoint of a run that is resumed, if it has any; the same for all processes."""
    found = newest_whole(folder.path) if resume is not None and accelerator.is_main_process else None
    found = of_first_process(found, accelerator)
    if found is None and resume not in (None, "auto"):
        logger.info("There is no checkpoint in %s yet: starting at step 0.", folder.shown)
    return found
