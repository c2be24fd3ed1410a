"""Taking up a run where it stopped: everything that is in its checkpoint, which origin.py has chosen."""

import logging
from contextlib import nullcontext
from functools import partial

import torch
from omegaconf import DictConfig

from aaa.assembly.parts import build_schedule
from aaa.assembly.same_latents import has_latents_of
from aaa.assembly.training_data import TrainingData
from aaa.config.commands import train_command
from aaa.errors import UserError
from aaa.run.budget import of_steps
from aaa.run.going_on import Before
from aaa.run.learner import Learner
from aaa.run.length import RunLength
from aaa.run.longer import longer_from, warn_of_schedule
from aaa.run.machines import Reader
from aaa.run.origin import Origin
from aaa.saved.checkpoint import (
    load_of_objective,
    load_optimizer,
    load_weights,
    read_of_objective,
    read_optimizer,
)
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, SHARDS
from aaa.saved.models import exported_step
from aaa.saved.shards import fetching, load_weights_from_shards
from aaa.saved.weights_file import read_dit_tensors
from aaa.training.progress import Progress, Window
from aaa.training.sharding import is_sharded

logger = logging.getLogger(__name__)


def resume(config: DictConfig, origin: Origin, learner: Learner, data: TrainingData, length: RunLength) -> Progress:
    """Take up the checkpoint that a run goes on from.

    Args:
        config: of the run; `resume=auto` takes up one that has taken all its steps and exported its model.
        origin: without a checkpoint there is nothing to take up.
        learner: takes its state.
        data: what is trained on; must be what the run was trained on.
        length: of the run.

    Returns:
        How far the run is.

    Raises:
        UserError: if the checkpoint is not one of this run as it is configured, or nothing is left to do.
    """
    before, folder = origin.before, origin.folder
    if before is None:
        return Progress()
    checkpoint, state = before.checkpoint, before.state
    if not has_latents_of(data.cache, state.cache_fingerprint):
        raise UserError(
            f"{checkpoint}: the run was trained on other latents than {data.cache.path} holds. Were the pictures, "
            "prompts, data or encoder changed since? Set them back; or train a new run, which may start from these "
            f"weights: {train_command('...', init_from=folder.shown)}"
        )
    exported = origin.reader.first(partial(exported_step, folder.path))
    finished = state.step >= length.max_steps and not state.unlooked and exported == state.step
    over = before.run != folder.path and state.step >= length.max_steps
    if over or (finished and config.resume != "auto"):
        raise UserError(
            f"{f'repeat={checkpoint}:' if over else folder.shown} has already taken {state.step} of "
            f"trainer.max_steps={length.max_steps} steps. To go on: {_longer(config, before, length)}"
        )
    _load(before, learner, origin.reader)
    if finished:
        logger.info("%s is finished: there is nothing left to do.", folder.shown)
    else:
        logger.info("Going on from step %d (%s)", state.step, checkpoint)
    learning_rate = learner.optimizer.param_groups[0]["lr"]
    so_long = of_steps(config, length.max_steps)
    warn_of_schedule(before, partial(build_schedule, config), length.max_steps, learning_rate, so_long)
    return _progress(before, length.batch_size, next(learner.model.parameters()).device)


def _load(before: Before, learner: Learner, reader: Reader) -> None:
    checkpoint, ema = before.checkpoint, learner.ema
    if ema is not None and not reader.first((checkpoint / AVERAGE).is_file):
        raise UserError(f"{checkpoint} has no {AVERAGE}, but trainer.ema_decay or ema_memory asks for it.")
    divided = reader.first((checkpoint / SHARDS).is_dir)
    if divided and not reader.by_each:
        raise UserError(
            f"{checkpoint}: was written by processes that divided the weights, so that each has to read it, and not "
            "all machines see it. Put the run on a disk that all see, or copy the checkpoint to the same place on each."
        )
    if divided and is_sharded(learner.model):  # each process reads what it is to hold
        load_weights_from_shards(checkpoint, learner.model, None if ema is None else ema.module)
    else:
        read = reader.reading(read_dit_tensors)
        load_weights(checkpoint / MODEL, learner.model, read)
        if ema is not None:
            load_weights(checkpoint / AVERAGE, ema.module, read)
    load_of_objective(checkpoint, learner.of_objective, reader.reading(read_of_objective))
    with fetching(learner.optimizer, checkpoint) if divided else nullcontext():
        load_optimizer(checkpoint, learner.optimizer, reader.reading(read_optimizer))
    if ema is not None:
        ema.n_averaged.fill_(before.state.ema_updates)


def _progress(before: Before, batch_size: int, device: torch.device) -> Progress:
    """How far the run is, with what was measured since its last row of metrics."""
    state = before.state
    progress = Progress(state.step, state.seconds, state.skipped_steps, list(state.unlooked), samples=before.samples)
    progress.window = Window.of(state.unlogged, device)
    if isinstance(before.settings.get("trainer.batch_size"), int):
        # The time that as many samples of the steps to come would have taken.
        share = batch_size / before.settings["trainer.batch_size"]
        progress.window.seconds *= share
        progress.window.busy_seconds *= share
    return progress


def _longer(config: DictConfig, before: Before, length: RunLength) -> str:
    """How a run is made longer: from before its learning rate fell, where there is a checkpoint."""
    so_long = of_steps(config, 2 * before.state.step)
    command = longer_from(before.run, length.step_before_decay, so_long)
    if command is None:
        return " ".join(so_long)
    return f"{command} (in a new folder, with the learning rate that a longer run has)"
