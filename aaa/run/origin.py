"""Where a run begins: the folder that it has for itself, and what it goes on with or repeats."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from aaa.config.commands import train_command
from aaa.errors import UserError
from aaa.run.finished import FinishedRun, finished_run
from aaa.run.folder import RunFolder
from aaa.run.going_on import Before, branch_checkpoint, read_before
from aaa.run.machines import Reader, require_newest, require_shared, told
from aaa.run.session import Session
from aaa.saved.checkpoint_folders import bring_back_replaced, newest_whole
from aaa.saved.models import exported_step

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a run begins.

    Attributes:
        folder: of the run.
        before: the checkpoint that it goes on from and the run behind it, or None.
        branches_off: whether it goes on in a folder of its own from another run's checkpoint.
        earlier_run: folder of the run that is gone on with or repeated, or None.
        reader: how processes come to what is in the checkpoint.
        finished: what came out of a run that is over, where nothing more is asked of it; None of any other.
    """

    folder: RunFolder
    before: Before | None
    branches_off: bool
    earlier_run: Path | None
    reader: Reader
    finished: FinishedRun | None = None

    @property
    def samples(self) -> int:
        """That were trained on before."""
        return 0 if self.before is None else self.before.samples


def open_origin(config: DictConfig, session: Session) -> Origin:
    """Claim the run's folder, and find the checkpoint to go on from. The first process looks, and tells the others.

    Raises:
        UserError: if the folder is another run's, a checkpoint that is named is damaged, or a machine does not see
            what it has to.
    """
    resumed, processes = config.resume is not None, session.processes
    folder = RunFolder(Path(config.output_dir), processes, going_on=resumed)
    if session.mesh is not None:
        parallel = f"with trainer.parallel={config.trainer.parallel} each writes its part of a checkpoint there"
        require_shared(folder.path, processes, parallel)
    checkpoint = None
    if resumed:
        require_newest(folder.path, Path(config.output_dir), processes)
        checkpoint = told(processes, partial(_newest, folder.path))
    branch = None if checkpoint is not None else told(processes, partial(branch_checkpoint, config.repeat))
    begin = checkpoint or branch
    before = None if begin is None else told(processes, partial(read_before, begin))
    own = before if branch is None else None
    finished = told(processes, partial(_finished, folder, config, own)) if resumed else None
    repeated = None if config.repeat is None else Path(config.repeat)
    earlier_run = folder.path if resumed else repeated if before is None else before.run
    return Origin(folder, before, branch is not None, earlier_run, Reader.of(begin, processes), finished)


def _newest(run: Path) -> Path | None:
    bring_back_replaced(run)
    return newest_whole(run)


def _finished(folder: RunFolder, config: DictConfig, before: Before | None) -> FinishedRun | None:
    """What came out of a run, or None if it has not come to its end.

    Raises:
        UserError: if there is a model and no checkpoint, and more to do than it was trained for: from the start it
            would be lost.
    """
    exported = exported_step(folder.path)
    if before is not None:
        state = before.state
        over = config.resume == "auto" and exported == state.step and not state.unlooked
        return finished_run(folder.path, config) if over else None
    if exported is None:
        if config.resume != "auto":
            logger.info("There is no checkpoint in %s yet: starting at step 0.", folder.shown)
        return None
    if config.resume == "auto" and (finished := finished_run(folder.path, config)) is not None:
        return finished
    anew = train_command(repeat=folder.shown)
    raise UserError(
        f"resume={config.resume}: {folder.shown} has exported its model after {exported} steps and keeps no checkpoint "
        f"to go on from. To train it anew, in a new folder: {anew}. From its weights, with a new optimizer: "
        f"{train_command('...', init_from=folder.shown)}"
    )
