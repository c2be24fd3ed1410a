"""Where a run's numbers and pictures go: always into the run folder, and to a logger such as W&B."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from aaa.errors import UserError
from aaa.tracking.files import append_line, replace_text
from aaa.tracking.finite_json import from_json, to_json

METRICS, ODD_STEPS = "metrics.jsonl", "odd_steps.jsonl"
AXES = ("samples", "seconds", "flops")  # what a run can be drawn over, besides its steps


@dataclass(frozen=True)
class RunInfo:
    """What a logger is told of the run.

    Attributes:
        folder: of the run.
        name: of the run.
        config: resolved, nested, without secrets.
        overrides: what the command line changed, without secrets.
        group: of the sweep the run belongs to, or None.
        step: where the run starts, above 0 when it is resumed.
        environment: what environment.json says.
        remark: what is different from this step on.
        measured: names of what is known of that step, where more of it is measured again; None: all is kept.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    overrides: Sequence[str]
    group: str | None
    step: int
    environment: dict[str, Any] = field(default_factory=dict)
    remark: str = ""
    measured: Collection[str] | None = None


class Logger(Protocol):
    """What a plug-in for another tracker implements; named by `_target_` in conf/logger."""

    def start(self, run: RunInfo) -> None:
        """Begin, or continue what an earlier process began for the same run folder."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take some numbers."""
        ...

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Take some pictures."""
        ...

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Take bars over intervals, of which there is one edge more."""
        ...

    def log_model(self, folder: Path) -> None:
        """Take the exported model of a finished run."""
        ...

    def finish(self, exit_code: int) -> None:
        """End, with the exit code of the command."""
        ...


class NoLogger:
    """Logs nowhere."""

    def start(self, run: RunInfo) -> None:
        """Do nothing."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Do nothing."""

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Do nothing."""

    def log_model(self, folder: Path) -> None:
        """Do nothing."""

    def finish(self, exit_code: int) -> None:
        """Do nothing."""


def require_project(project: str | None) -> str:
    """The project that a logger puts runs into.

    Raises:
        UserError: if it has no name.
    """
    if not project:
        raise UserError("logger.project: must have a name, such as logger.project=aaa; logger=none logs nowhere.")
    return project


class Tracker:
    """Writes `metrics.jsonl` and passes everything on to a logger.

    Args:
        run: what to tell the logger.
        logger: W&B or another.
        past: rows of metrics that the logger has not had, as they are another run's.
    """

    def __init__(self, run: RunInfo, logger: Logger, past: Sequence[Mapping[str, Any]] = ()) -> None:
        self.run, self.logger = run, logger
        self.metrics = run.folder / METRICS
        # Trackers draw a metric over what was logged along with it.
        self._axes: dict[str, float] = {}
        self._newest: tuple[int, dict[str, float]] = (run.step, {})
        forget_after(self.metrics, run.step, run.measured)
        forget_after(run.folder / ODD_STEPS, run.step)
        for taken in read_metrics(self.metrics):
            self._axes |= {axis: taken[axis] for axis in AXES if axis in taken}
            if taken["step"] == run.step:
                self._newest[1].update({name: value for name, value in taken.items() if name != "step"})
        logger.start(run)
        for row in past:
            logger.log(row["step"], {name: value for name, value in row.items() if name != "step"})

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log some numbers of a step."""
        append_line(self.metrics, to_json({"step": step, **metrics}))
        self._newest = (step, {**self.metrics_at(step), **metrics})
        self._axes |= {axis: metrics[axis] for axis in AXES if axis in metrics}
        self.logger.log(step, self._axes | dict(metrics))

    def to_disk(self) -> None:
        """Have all rows on disk, as a checkpoint is that goes on from them: a power cut may take what is not."""
        if self.metrics.is_file():
            with self.metrics.open("rb+") as rows:  # Windows flushes nothing that is open to be read alone
                os.fsync(rows.fileno())

    def metrics_at(self, step: int) -> dict[str, float]:
        """What was logged of this step, if it is the newest."""
        return self._newest[1] if self._newest[0] == step else {}

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Log some pictures of a step with their prompts."""
        self.logger.log_images(step, name, images, captions)

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Log some bars of a step."""
        self.logger.log_histogram(step, name, heights, edges)

    def log_model(self, folder: Path) -> None:
        """Log the exported model."""
        self.logger.log_model(folder)

    def finish(self, exit_code: int) -> None:
        """End the logger's run."""
        self.logger.finish(exit_code)


def last_of(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What was measured of this name last, in rows of metrics; None if it never was."""
    return next((row[name] for row in reversed(rows) if name in row), None)


def read_metrics(path: Path, having: str | None = None) -> list[dict[str, Any]]:
    """The whole lines of a `metrics.jsonl`; one that was cut short by a crash is left out.

    Numbers that are not finite are read as they are written now, and as earlier versions wrote them (`NaN`).

    Args:
        path: of the file; it need not be there.
        having: name of what the rows that are wanted have measured, where not all are: most need not be read then.
    """
    if not path.is_file():
        return []
    quoted = None if having is None else f'"{having}"'
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            if quoted is not None and quoted not in line:
                continue
            try:
                row = from_json(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def forget_after(path: Path, step: int, measured: Collection[str] | None = None) -> None:
    """Drop the rows of steps that a resumed run is going to take again, and what a crash left of a row.

    Args:
        path: of the rows.
        step: the last one that is not taken again.
        measured: names of what rows of that one may have, if not any.

    Raises:
        UserError: if the file cannot be written.
    """
    if not path.is_file():
        return

    def stays(row: Mapping[str, Any]) -> bool:
        return row["step"] < step or (row["step"] == step and (measured is None or row.keys() <= {"step", *measured}))

    kept = "".join(to_json(row) + "\n" for row in read_metrics(path) if stays(row))
    # Half a line at the end would take the run's next row with it.
    if path.read_bytes() != kept.encode():
        replace_text(path, kept)
