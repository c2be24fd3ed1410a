"""What a researcher might plug in."""

import logging
import os
import time
from typing import Any

from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.tracking.tracker import RunInfo
from aaa.tracking.wandb_logger import WandbLogger

logger = logging.getLogger(__name__)


class LeakyLogger(WandbLogger):
    """Takes a key and a token, and talks about them."""

    def __init__(self, project: str, api_key: str, auth: dict[str, str], **more: Any) -> None:
        super().__init__(project, **more)
        self.secrets = [api_key, auth["token"], os.environ["MY_PASSWORD"]]

    def start(self, run: RunInfo) -> None:
        super().start(run)
        logger.warning("my secrets are %s", self.secrets)
        try:
            raise ValueError(self.secrets)
        except ValueError:
            logger.exception("failed with %s", self.secrets)


class LateEvaluation:
    """One that keeps the first of several processes busy for long, and then draws with all of them.

    Args:
        seconds: for how long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """How long it took."""
        began = time.monotonic()
        if evaluated.drawer.processes.index == 0:
            time.sleep(self.seconds)
        assert len(evaluated.draw("train", 3).images) == 3
        if evaluated.drawer.processes.index == 0:
            time.sleep(self.seconds)
        return {"quality/late_by_seconds": time.monotonic() - began}
