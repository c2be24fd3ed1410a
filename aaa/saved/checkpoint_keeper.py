"""Saving checkpoints beside training, and deleting those that are not to be kept."""

import logging
import math
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from aaa.errors import UserError, reason
from aaa.saved.checkpoint import Snapshot, load_state, write_checkpoint, write_tensors
from aaa.saved.checkpoint_folders import STATE, checkpoints, damage, step_of
from aaa.saved.whole_folders import remove_whole
from aaa.tracking.tracker import METRICS, read_metrics
from aaa.training.memory import available_memory, held_memory

logger = logging.getLogger(__name__)

SPARE = 1.2  # of a copy's size must be free for the copy to be made


@dataclass(frozen=True)
class Keep:
    """Which checkpoints are kept.

    Attributes:
        last: how many of the newest; None for all.
        best: how many of those with the best `metric`.
        metric: a metric that is measured at the steps of checkpoints.
        higher_is_better: of the metric.
        every_steps: those of these steps for ever; 0 for none.
        at_steps: those of just these steps as well.
    """

    last: int | None = None
    best: int = 0
    metric: str = "val/loss"
    higher_is_better: bool = False
    every_steps: int = 0
    at_steps: tuple[int, ...] = ()

    def to_delete(self, metrics: dict[int, dict[str, float]]) -> set[int]:
        """Steps of the checkpoints that need not be kept.

        Args:
            metrics: of every checkpoint there is, by step.
        """
        if self.last is None:
            return set()
        newest = sorted(metrics, reverse=True)[: self.last]
        measured = [step for step in metrics if math.isfinite(metrics[step].get(self.metric, math.nan))]
        sign = -1 if self.higher_is_better else 1
        best = sorted(measured, key=lambda step: (sign * metrics[step][self.metric], -step))[: self.best]
        regular = [step for step in metrics if self.every_steps and step % self.every_steps == 0]
        return set(metrics) - {*newest, *best, *regular, *self.at_steps}


class CheckpointKeeper:
    """Writes the checkpoints of a run and deletes those that have had their day.

    Args:
        folder: the run's `checkpoints/`.
        keep: which are kept.
        in_background: write in a thread, from a copy in the CPU's memory, if there is room for one.
    """

    def __init__(self, folder: Path, keep: Keep, *, in_background: bool) -> None:
        self.folder, self.keep, self.in_background = folder, keep, in_background
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._being_written: Future[None] | None = None
        self._measured: dict[int, dict[str, float]] = {}  # by step

    def save(self, snapshot: Snapshot, *, wait: bool) -> None:
        """Save a checkpoint; the one before it is waited for.

        Args:
            snapshot: of tensors that training goes on to change.
            wait: until it is on disk.

        Raises:
            UserError: if this one or, in the background, the one before cannot be written.
        """
        self.wait()
        cpu = torch.device("cpu")
        room = available_memory(cpu) - held_memory(cpu) > SPARE * snapshot.nbytes
        if wait or not self.in_background or not room:
            self._write(snapshot)
            return
        self._being_written = self._thread.submit(self._write, snapshot.on_cpu())

    def save_with(self, write: Callable[[Path, Snapshot], None], snapshot: Snapshot, *, wait: bool) -> None:
        """Save a checkpoint whose tensors are written otherwise; nothing that training changes may be needed for that.

        Args:
            write: puts the tensors into a folder.
            snapshot: the rest.
            wait: until it is on disk.

        Raises:
            UserError: as `save`.
        """
        self.wait()
        if wait or not self.in_background:
            self._write(snapshot, write)
        else:
            self._being_written = self._thread.submit(self._write, snapshot, write)

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written in the background."""
        return self._being_written is not None and not self._being_written.done()

    def raise_failure(self) -> None:
        """Raise what went wrong in the background, if anything has."""
        if self._being_written is not None and self._being_written.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            UserError: if it could not be.
        """
        writing, self._being_written = self._being_written, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait without raising: for when something else has gone wrong already."""
        try:
            self.wait()
        except UserError as error:
            logger.error("%s", error)
        self._thread.shutdown()

    def _write(self, snapshot: Snapshot, write: Callable[[Path, Snapshot], None] = write_tensors) -> None:
        written = write_checkpoint(self.folder, snapshot, write)
        self._measured.pop(snapshot.state.step, None)
        if self.keep.last is None:
            return
        # One of a later step is damaged, as the run was taken up before it: it takes no place of those that are kept.
        found = [path for path in checkpoints(self.folder.parent) if step_of(path) <= step_of(written)]
        whole = [path for path in found if path == written or damage(path, hashed=(STATE,)) is None]
        doomed = self.keep.to_delete({step_of(path): self._metrics_of(path) for path in whole})
        for path in whole:
            if step_of(path) in doomed:
                _delete(path)

    def _metrics_of(self, checkpoint: Path) -> dict[str, float]:
        """What was measured at a checkpoint's step, by the run that went on from it too; read once, if that is all."""
        if (known := self._measured.get(step_of(checkpoint))) is not None:
            return known
        state = load_state(checkpoint)
        if not state.unlooked:
            return self._measured.setdefault(state.step, state.metrics)
        rows = [row for row in read_metrics(self.folder.parent / METRICS) if row["step"] == state.step]
        return state.metrics | {name: value for row in rows for name, value in row.items()}


def _delete(checkpoint: Path) -> None:
    """Delete a checkpoint; where that cannot be, as on a network's disk while another process reads it, say so."""
    try:
        remove_whole(checkpoint)
    except OSError as error:
        logger.warning("%s: cannot be deleted (%s). When the run is next taken up it is.", checkpoint, reason(error))


def require_space(folder: Path, nbytes: int) -> None:
    """Refuse a disk that will not take even one checkpoint, before any time is spent on training.

    Raises:
        UserError: naming what there is and what it takes.
    """
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise UserError(
            f"{folder}: the disk has {free / 2**30:.2f} GiB free, and one checkpoint takes {nbytes / 2**30:.2f} GiB. "
            "Make room, or let the run be elsewhere with hydra.run.dir=FOLDER."
        )
