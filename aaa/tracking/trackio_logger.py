"""Trackio as a logger (pip install -e ".[trackers]"): a dashboard on one's own machine, `trackio show`."""

import logging
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.errors import UserError, reason
from aaa.tracking.files import kept_text, replace_text
from aaa.tracking.printed import harmless
from aaa.tracking.run_copies import copied_from
from aaa.tracking.tracker import RunInfo, require_project

logger = logging.getLogger(__name__)

TRACKIO_ID = "trackio_id.txt"  # in a run folder


class TrackioLogger:
    """Logs into Trackio's database on this machine (`TRACKIO_DIR`). A resumed run goes on with its own.

    Its names are its keys: a run is called by its folder and by an id, as folders of one name may lie in several
    places. That name is kept in the folder, wherever it is moved; a copy is another run. Trackio forgets nothing:
    where a run goes on from before its last step, it keeps what it has of the steps that are taken again.

    Args:
        project: Trackio project.

    Raises:
        UserError: if it has no name, Trackio is not installed, or cannot write where its database is.
    """

    def __init__(self, project: str) -> None:
        self.project = require_project(project)
        try:
            from trackio import sqlite_storage
        except ImportError:
            raise UserError('logger: trackio is not installed: pip install -e ".[trackers]"') from None
        _require_writable(Path(sqlite_storage.TRACKIO_DIR))
        self._run: Any = None
        self._had: dict[int, set[str]] = {}  # what Trackio has of the steps that the run takes again

    def start(self, run: RunInfo) -> None:
        """Go on with the run that this folder has been, or begin one: a run that starts at its first step is another.

        Raises:
            UserError: if the id cannot be kept.
        """
        import trackio

        kept = _kept_name(run)
        name = kept or _name_of(run.folder, secrets.token_hex(4))
        self._run = trackio.init(
            self.project,
            name=name,
            group=run.group,
            config=run.config | {"overrides": list(run.overrides)},
            resume="allow" if kept else "never",
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        if kept is not None:
            for row in trackio.SQLiteStorage.get_logs(self.project, name):
                if row["step"] > run.step:
                    self._had.setdefault(row["step"], set()).update(row)
        if name != kept_text(run.folder / TRACKIO_ID):
            replace_text(run.folder / TRACKIO_ID, name)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers at a step."""
        self._log(step, dict(metrics))

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Log pictures at a step, prompts as captions."""
        import trackio

        pictures = {
            f"{name}/{number}": trackio.Image(image, caption=harmless(caption))
            for number, (image, caption) in enumerate(zip(images, captions, strict=True))
        }
        self._log(step, pictures)

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Log bars at a step."""
        import trackio

        self._log(step, {name: trackio.Histogram(np_histogram=(list(heights), list(edges)))})

    def _log(self, step: int, values: dict[str, Any]) -> None:
        new = {name: value for name, value in values.items() if name not in self._had.get(step, ())}
        if new:
            self._run.log(new, step=step)

    def log_model(self, folder: Path) -> None:
        """The model stays where it is."""

    def finish(self, exit_code: int) -> None:
        """Write down what is still waiting."""
        del exit_code
        self._run.finish()


def _require_writable(folder: Path) -> None:
    """Refuse a folder in which Trackio would lose everything, with no more than warnings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"TRACKIO_DIR={folder}: Trackio cannot write there ({reason(error)}). Set it to another folder; "
            "logger=none logs nowhere."
        ) from None


def _kept_name(run: RunInfo) -> str | None:
    """What Trackio calls the run that goes on in this folder; None of one that begins, or goes on as another."""
    kept = kept_text(run.folder / TRACKIO_ID) if run.step else None
    if kept is None:
        return None
    if (original := copied_from(run, TRACKIO_ID)) is not None:
        logger.warning(
            "%s is a copy of %s, which is Trackio's run %s. It goes on as another.", run.folder, original, kept
        )
        return None
    # Earlier versions kept the id alone.
    return kept if "-" in kept else _name_of(run.folder, kept)


def _name_of(folder: Path, own: str) -> str:
    return harmless(f"{'/'.join(folder.parts[-3:])}-{own}", keep="").strip()
