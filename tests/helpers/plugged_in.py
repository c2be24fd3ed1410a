"""What a researcher might plug in."""

import logging
import os
from typing import Any

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
