"""Trackio as a logger (pip install -e ".[trackers]"): a dashboard on one's own machine, `trackio show`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.errors import UserError
from aaa.tracking.printed import harmless
from aaa.tracking.tracker import RunInfo


class TrackioLogger:
    """Logs into Trackio's database on this machine (`TRACKIO_DIR`). A resumed run goes on with its own.

    Args:
        project: Trackio project.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self._run: Any = None

    def start(self, run: RunInfo) -> None:
        """Begin, or go on with, the run of this folder's name."""
        try:
            import trackio
        except ImportError:
            raise UserError('logger: trackio is not installed: pip install -e ".[trackers]"') from None
        # Its names are its keys: two runs of one config are told apart by their folders.
        name = "/".join(run.folder.parts[-3:])
        self._run = trackio.init(
            self.project,
            name=name,
            group=run.group,
            config=run.config | {"overrides": list(run.overrides)},
            resume="allow",
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

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
