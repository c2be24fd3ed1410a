"""Trackio as a logger (pip install -e ".[trackers]"): a dashboard on one's own machine, `trackio show`."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.errors import UserError
from aaa.tracking.files import kept_text, replace_text
from aaa.tracking.printed import harmless
from aaa.tracking.tracker import RunInfo

TRACKIO_ID = "trackio_id.txt"  # in a run folder


class TrackioLogger:
    """Logs into Trackio's database on this machine (`TRACKIO_DIR`). A resumed run goes on with its own.

    Its names are its keys: a run is called by its folder and by an id that is kept there, as folders of one name may
    lie in several places.

    Args:
        project: Trackio project.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self._run: Any = None

    def start(self, run: RunInfo) -> None:
        """Go on with the run that this folder has been, or begin one: a run that starts at its first step is another.

        Raises:
            UserError: if Trackio is not installed, or the id cannot be kept.
        """
        try:
            import trackio
        except ImportError:
            raise UserError('logger: trackio is not installed: pip install -e ".[trackers]"') from None
        kept = kept_text(run.folder / TRACKIO_ID) if run.step else None
        own = kept or secrets.token_hex(4)
        self._run = trackio.init(
            self.project,
            name=f"{'/'.join(run.folder.parts[-3:])}-{own}",
            group=run.group,
            config=run.config | {"overrides": list(run.overrides)},
            resume="allow" if kept else "never",
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        if kept is None:
            replace_text(run.folder / TRACKIO_ID, own)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers at a step."""
        self._run.log(dict(metrics), step=step)

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Log pictures at a step, prompts as captions."""
        import trackio

        pictures = {
            f"{name}/{number}": trackio.Image(image, caption=harmless(caption))
            for number, (image, caption) in enumerate(zip(images, captions, strict=True))
        }
        self._run.log(pictures, step=step)

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Log bars at a step."""
        import trackio

        self._run.log({name: trackio.Histogram(np_histogram=(list(heights), list(edges)))}, step=step)

    def log_model(self, folder: Path) -> None:
        """The model stays where it is."""

    def finish(self, exit_code: int) -> None:
        """Write down what is still waiting."""
        del exit_code
        self._run.finish()
