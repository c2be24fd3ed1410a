"""What is looked at before the first run of a sweep starts, and before Hydra writes anything."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback

from aaa.errors import UserError
from aaa.run.after_sweep import say_how_it_ended
from aaa.run.finished import finished_run
from aaa.run.search import (
    BASIC,
    draw_again,
    draws_at_random,
    jobs_of,
    require_same_question,
    require_value,
    say_how_a_study_goes_on,
)
from aaa.run.sweep_folder import claim_for_sweep, subdir_of_jobs, write_down_sweep
from aaa.tracking.printed import harmless, shown
from aaa.tracking.redaction import redact
from aaa.tracking.variables import agents_run, is_launch

if TYPE_CHECKING:
    from omegaconf import DictConfig


def refuse(message: str) -> NoReturn:
    """End the command with what is wrong, from within a callback: Hydra would make a warning of an exception."""
    print(f"error: {harmless(redact(message))}", file=sys.stderr)
    sys.exit(1)


class BeforeSweep(Callback):
    """Refuses a sweep that cannot come to anything, or would overwrite another; named in conf/train.yaml."""

    def on_multirun_start(self, config: "DictConfig", **_kwargs: Any) -> None:
        """End the command with a message if something is wrong."""
        try:
            if agents_run() is not None:
                raise UserError(
                    "-m: `wandb agent` starts this command for one run, and -m starts many. Leave -m out of the "
                    "sweep's command: see docs/wandb_sweep.yaml."
                )
            if is_launch():
                raise UserError(
                    "-m: several processes were launched, for one run, and -m starts many. Launch each run by itself, "
                    "without -m. To have runs of one process at once, start the sweep without the launcher: "
                    "sweep=joblib or sweep=slurm_here on this machine, sweep=slurm or sweep=ray on a cluster "
                    "(docs/cluster.md)."
                )
            require_value(config, config.hydra.sweeper)
            claim_for_sweep(config)
            require_same_question(config)
            if draws_at_random(config):
                write_down_sweep(config)
                draw_again(config)
            elif config.sweep.resume:
                say_how_a_study_goes_on(config)
            if config.sweep.resume and _says_that_all_are_finished(config):
                sys.exit(0)
        except UserError as error:
            refuse(str(error))


def folder_of_numbered(config: "DictConfig") -> Path | None:
    """The folder in which the runs of a sweep lie by their numbers; None where it is not known where they will."""
    known = config.hydra.sweeper._target_ == BASIC and subdir_of_jobs(config) == "${hydra.job.num}"
    return Path(config.hydra.sweep.dir).absolute() if known else None


def _says_that_all_are_finished(config: "DictConfig") -> bool:
    """Whether nothing of a sweep is left to be done, which is then said; False where it is not known beforehand."""
    if (sweep := folder_of_numbered(config)) is None:
        return False
    loader = GlobalHydra.instance().config_loader()
    said = []
    for number, overrides in enumerate(jobs_of(config)):
        folder = sweep / str(number)
        done = finished_run(folder, loader.load_sweep_config(config, overrides)) if folder.is_dir() else None
        if done is None:
            return False
        said.append(done.said_of(shown(folder)))
    print("\n".join(said), file=sys.stderr)
    say_how_it_ended(sweep)
    return True
