"""Taking up a run where it stopped: the newest whole checkpoint, and everything that is in it."""

import logging
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from aaa.data.cache import LatentCache
from aaa.errors import UserError
from aaa.run.checkpoint_folders import AVERAGE, MODEL, newest_whole
from aaa.run.export import exported_step
from aaa.run.folder import RunFolder
from aaa.run.going_on import Before
from aaa.run.processes import of_first_process
from aaa.training.checkpoint import load_of_objective, load_optimizer, load_weights
from aaa.training.ema import EMA
from aaa.training.progress import Progress, Window

logger = logging.getLogger(__name__)


def checkpoint_to_go_on_from(folder: RunFolder, resume: str | None, accelerator: Accelerator) -> Path | None:
    """The newest whole checkpoint of a run that is resumed, if it has any; the same for all processes.

    Args:
        folder: of the run.
        resume: the run folder, `auto`, or None.
        accelerator: tells the first process, which looks, from the others.
    """
    found = newest_whole(folder.path) if resume is not None and accelerator.is_main_process else None
    found = of_first_process(found, accelerator)
    if found is None and resume not in (None, "auto"):
        logger.info("There is no checkpoint in %s yet: starting at step 0.", folder.shown)
    return found


def restore(
    before: Before,
    model: nn.Module,
    ema: EMA | None,
    optimizer: Optimizer,
    of_objective: nn.ModuleDict,
    cache: LatentCache,
    folder: RunFolder,
    *,
    max_steps: int,
    batch_size: int,
    finished_is_fine: bool,
    device: torch.device,
) -> Progress:
    """Take up a checkpoint.

    Args:
        before: the checkpoint, and what the run was up to it.
        model, ema, optimizer, of_objective: take their states.
        cache: what is trained on; must be what the run was trained on.
        folder: of the run.
        max_steps: that the run is to take in all.
        batch_size: of the steps to come.
        finished_is_fine: whether a run that has taken them and exported its model may be taken up.
        device: of the model.

    Returns:
        How far the run is.

    Raises:
        UserError: if the checkpoint is not one of this run as it is configured, or nothing is left to do.
    """
    checkpoint, state = before.checkpoint, before.state
    if state.cache_fingerprint != cache.fingerprint:
        raise UserError(
            f"{checkpoint}: the run was trained on other latents than {cache.path} holds. Were the pictures, prompts, "
            "data or encoder changed since? Set them back, or train a new run."
        )
    finished = state.step >= max_steps and not state.unlooked and exported_step(folder.path) == state.step
    if before.run != folder.path and state.step >= max_steps:
        raise UserError(
            f"repeat={checkpoint}: has already taken {state.step} of trainer.max_steps={max_steps} steps. "
            f"To go on: trainer.max_steps={2 * state.step}"
        )
    if finished and not finished_is_fine:
        raise UserError(
            f"{folder.shown} has already taken {state.step} of trainer.max_steps={max_steps} steps. "
            f"To go on: trainer.max_steps={2 * state.step}"
        )
    load_weights(checkpoint / MODEL, model)
    load_of_objective(checkpoint, of_objective)
    load_optimizer(checkpoint, optimizer)
    if ema is not None:
        if not (checkpoint / AVERAGE).is_file():
            raise UserError(f"{checkpoint} has no {AVERAGE}, but trainer.ema_decay is not 0.")
        load_weights(checkpoint / AVERAGE, ema.module)
        ema.n_averaged.fill_(state.ema_updates)
    if finished:
        logger.info("%s is finished: there is nothing left to do.", folder.shown)
    else:
        logger.info("Going on from step %d (%s)", state.step, checkpoint)
    progress = Progress(state.step, state.seconds, state.skipped_steps, list(state.unlooked), samples=before.samples)
    progress.window = Window.of(state.unlogged, device)
    if isinstance(before.settings.get("trainer.batch_size"), int):
        # The time that as many samples of the steps to come would have taken.
        share = batch_size / before.settings["trainer.batch_size"]
        progress.window.seconds *= share
        progress.window.busy_seconds *= share
    return progress
