"""Being taken off a machine by a cluster and asking to be started again."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

from aaa.tracking.variables import is_helper

logger = logging.getLogger(__name__)


def requeue_on_signal() -> None:
    """From now on SIGUSR1 ends this process with exit code 0; a SLURM job asks to be queued again before that.

    Windows has no such signal.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR1, _requeue)


def _requeue(_signum: int, _frame: FrameType | None) -> NoReturn:
    job = os.environ.get("SLURM_JOB_ID")
    # The processes that a launcher starts in one task of SLURM's have the same number there.
    is_first = os.environ.get("SLURM_PROCID", "0") == "0" and not is_helper()
    if job is not None and shutil.which("scontrol") is not None and is_first:
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if asked.returncode:
            logger.error("scontrol requeue %s: %s", job, asked.stderr.strip() or asked.stdout.strip())
            sys.exit(1)
        logger.info("SLURM job %s is queued again.", job)
    sys.exit(0)
