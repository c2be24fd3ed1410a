"""Checkpoints to which every process adds the rows of the weights that it holds."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist

from aaa.errors import UserError, reason
from aaa.saved.checkpoint import Snapshot, write_rest
from aaa.saved.checkpoint_folders import SHARDS
from aaa.saved.checkpoint_keeper import CheckpointKeeper
from aaa.saved.shards import (
    Divided,
    finish_writing,
    start_writing_shards,
    write_shards,
    write_whole_weights,
)


class DividedCheckpoints:
    """Saves the checkpoints of a run whose processes divide its weights; made and asked by every process.

    Each writes its own shards, beside training if the keeper works in the background. The first then makes whole files
    of weights from them, which all that draws reads, and gives the checkpoint its name once it is whole.

    Args:
        keeper: of the first process; in the others it keeps nothing.
        is_main: whether this is the first.
    """

    def __init__(self, keeper: CheckpointKeeper, *, is_main: bool) -> None:
        self.keeper, self.is_main = keeper, is_main
        # The threads that write must not be in the way of those that train, nor need a GPU.
        self._processes: Any = dist.new_group(backend="gloo")
        self._shards: Future[Any] | None = None

    def save(self, snapshot: Snapshot, *, wait: bool) -> None:
        """Save a checkpoint; the one before it is waited for.

        Args:
            snapshot: of tensors that training goes on to change.
            wait: until it is on disk.

        Raises:
            UserError: if this one or, in the background, the one before cannot be written.
        """
        self.wait()
        folder = self.keeper.folder / f".shards-{snapshot.state.step:08d}"
        if self.is_main:
            shutil.rmtree(folder, ignore_errors=True)
        dist.barrier(self._processes)
        divided = Divided.of(snapshot.model, snapshot.ema, snapshot.optimizer)
        if wait or not self.keeper.in_background:
            finish: Callable[[], None] = partial(write_shards, folder, divided)
        else:
            self._shards = start_writing_shards(folder, divided, self._processes)
            finish = partial(finish_writing, self._shards)
        if not self.is_main:
            if self._shards is None:
                _finished(finish, folder)
            return
        of_objective = {name: tensor.detach().to("cpu", copy=True) for name, tensor in snapshot.of_objective.items()}
        rest = replace(snapshot, of_objective=of_objective)
        self.keeper.save_with(partial(_assemble, finish, folder, divided.optimizer), rest, wait=wait)

    def wait(self) -> None:
        """Wait until what this process writes is on disk, and in the first one the whole checkpoint.

        Raises:
            UserError: if it cannot be written.
        """
        writing, self._shards = self._shards, None
        if writing is not None and not self.is_main:
            _finished(partial(finish_writing, writing), self.keeper.folder)
        self.keeper.wait()


def _assemble(finish: Callable[[], None], shards: Path, optimizer: Any, checkpoint: Path, snapshot: Snapshot) -> None:
    """Put shards into a checkpoint, when they are there, and what is made from them and of the rest."""
    try:
        finish()
        shards.rename(checkpoint / SHARDS)
    except OSError:
        shutil.rmtree(shards, ignore_errors=True)
        raise
    write_whole_weights(checkpoint, snapshot.metadata)
    write_rest(checkpoint, optimizer, snapshot.of_objective)


def _finished(finish: Callable[[], None], folder: Path) -> None:
    try:
        finish()
    except OSError as error:
        raise UserError(f"{folder}: a checkpoint cannot be written ({reason(error)}).") from error
