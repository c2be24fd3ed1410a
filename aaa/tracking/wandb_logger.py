"""Weights & Biases as a logger."""

import logging
import netrc
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlparse

from PIL import Image

from aaa.tracking.tracker import RunInfo

logger = logging.getLogger(__name__)

MAX_TAG_LENGTH = 64  # W&B refuses longer ones


class WandbLogger:
    """Logs to W&B: online where credentials are found, else offline. `WANDB_MODE` and the like are respected.

    The id of the W&B run is kept in the run folder, so that a resumed run continues it.

    Args:
        project: W&B project; `WANDB_PROJECT` wins.
        entity: W&B user or team, or None for the account's own; `WANDB_ENTITY` wins.
    """

    def __init__(self, project: str, entity: str | None = None) -> None:
        self.project = os.environ.get("WANDB_PROJECT", project)
        self.entity = os.environ.get("WANDB_ENTITY", entity)
        self._run: Any = None

    def start(self, run: RunInfo) -> None:
        """Start or continue the W&B run of this run folder."""
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if _has_credentials() else "offline")
        id_file = run.folder / "wandb_id.txt"
        if not id_file.is_file():
            id_file.write_text(secrets.token_hex(4), encoding="utf-8")
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            id=id_file.read_text(encoding="utf-8").strip(),
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            dir=os.environ.get("WANDB_DIR", str(run.folder)),
            name=run.name,
            group=run.group,
            job_type="train",
            tags=[override[:MAX_TAG_LENGTH] for override in run.overrides],
            config=run.config,
            settings=wandb.Settings(silent=True, console="off"),
        )
        if mode == "offline":
            logger.info("W&B: no account, logging offline. To upload the run later: wandb sync %s", self._run.dir[:-6])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers at a step."""
        self._run.log(dict(metrics), step=step)

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Log pictures at a step, prompts as captions."""
        import wandb

        pictures = [wandb.Image(image, caption=text) for image, text in zip(images, captions, strict=True)]
        self._run.log({name: pictures}, step=step)

    def finish(self, exit_code: int) -> None:
        """Close the W&B run as finished (0) or failed."""
        self._run.finish(exit_code=exit_code)


def _has_credentials() -> bool:
    """Whether `wandb login` has been done, or a key is in the environment."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
