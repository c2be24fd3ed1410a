"""What is looked at before the first run of a sweep starts, and before Hydra writes anything."""

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.experimental.callback import Callback

from aaa.errors import UserError
from aaa.run.claim import claim_for_sweep
from aaa.run.search import require_same_question, require_value
from aaa.tracking.printed import harmless
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
        except UserError as error:
            refuse(str(error))
