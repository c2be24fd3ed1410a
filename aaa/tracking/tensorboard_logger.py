"""TensorBoard as a logger (pip install -e ".[trackers]"): `tensorboard --logdir outputs`."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aaa.errors import UserError
from aaa.tracking.printed import markdown, one_line
from aaa.tracking.tracker import RunInfo


class TensorBoardLogger:
    """Writes TensorBoard's event files into `tensorboard/` of the run folder. A resumed run goes on with them.

    Raises:
        UserError: if TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise UserError('logger: tensorboard is not installed: pip install -e ".[trackers]"') from None
        self._open = SummaryWriter
        self._writer: Any = None

    def start(self, run: RunInfo) -> None:
        """Open the event file; what an earlier process wrote after the step that the run goes on from is dropped."""
        self._writer = self._open(str(run.folder / "tensorboard"), purge_step=run.step + 1)
        self._writer.add_text("overrides", "  \n".join(map(markdown, run.overrides)) or "none", run.step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers at a step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Log pictures at a step, each under its prompt."""
        for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
            self._writer.add_image(f"{name}/{number} {one_line(caption)}", np.asarray(image), step, dataformats="HWC")

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Log bars at a step."""
        total = float(sum(heights))
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        moments = [sum(h * m**power for h, m in zip(heights, middles, strict=True)) for power in (1, 2)]
        self._writer.add_histogram_raw(
            name, edges[0], edges[-1], total, *moments, bucket_limits=edges[1:], bucket_counts=heights, global_step=step
        )

    def log_model(self, folder: Path) -> None:
        """TensorBoard keeps no models."""

    def finish(self, exit_code: int) -> None:
        """Close the event file."""
        del exit_code
        self._writer.close()
