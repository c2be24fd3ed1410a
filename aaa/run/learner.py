"""What learns in a run: the model, the average of its weights, its optimizer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer

from aaa.assembly.parts import build_average, build_model, build_optimizer
from aaa.objectives.flow_matching import Objective
from aaa.run.budget import keep_to_parameters
from aaa.run.earlier_stages import stages_behind, stages_of_run
from aaa.run.origin import Origin
from aaa.run.session import Session
from aaa.run.starting_weights import start_from, start_from_what_fits
from aaa.tracking.stages import Stage, described
from aaa.training.compiling import compile_model
from aaa.training.ema import EMA
from aaa.training.recomputing import recompute_activations
from aaa.training.sharding import WholeCopies, divide_loaded_state, divided_copy, place_buffers, shard, without_weights

logger = logging.getLogger(__name__)


class Placed(NamedTuple):
    """A model where it is trained.

    Attributes:
        model: with the weights, or this process's rows of them.
        ema: their moving average, divided as they are, or None.
        copies: where weights are divided, or the average is more precise than what is run, what draws and is judged
            in place of those two; else None.
    """

    model: nn.Module
    ema: EMA | None
    copies: WholeCopies | None


@dataclass(frozen=True)
class Learner:
    """What learns.

    Attributes:
        model: with the weights.
        optimizer: of them.
        ema: their moving average, or None.
        of_objective: what the terms of the objective train of their own, by their names; nobody else knows it.
        copies: what draws and is judged in place of model and average, or None where these do themselves.
    """

    model: nn.Module
    optimizer: Optimizer
    ema: EMA | None
    of_objective: nn.ModuleDict
    copies: WholeCopies | None = None

    @property
    def judged(self) -> dict[str, nn.Module]:
        """What to validate and to draw with, by the suffix of its metrics: the average, if any, and the raw weights.

        The first is the one that counts. Where these are copies, they have weights within `looking`.
        """
        return self._trained if self.copies is None else self.copies.models

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A block in which what is judged has its weights; every process must enter it."""
        if self.copies is None:
            yield
            return
        self.copies.gather(self._trained)
        try:
            yield
        finally:
            self.copies.clear()

    @property
    def _trained(self) -> dict[str, nn.Module]:
        return by_suffix(self.model, None if self.ema is None else self.ema.module)


def by_suffix(model: nn.Module, average: nn.Module | None) -> dict[str, nn.Module]:
    """Models that are judged, by the suffix of their metrics, the one that counts first."""
    return {"": model} if average is None else {"": average, "_raw": model}


def start_model(config: DictConfig, origin: Origin) -> tuple[nn.Module, list[Stage]]:
    """The configured model, of the width that a budget of parameters gives it, with the weights that a run starts from.

    Those are random ones, of the run's seed, unless `init_from` names others; a checkpoint's come later.

    Returns:
        The model, and the stages of training before this run, whose costs are part of its own.

    Raises:
        UserError: if there is no such model, or the weights are another's.
    """
    keep_to_parameters(config)
    torch.manual_seed(config.seed)
    model = build_model(config)
    if config.init_from is None:
        return model, []
    if origin.before is not None:
        return model, stages_of_run(origin.before.run)
    if config.get("init_from_parts") == "fitting":
        file = start_from_what_fits(Path(config.init_from), model, config.model)
    else:
        file = start_from(Path(config.init_from), model, config.model, config.encoder)
    stages = stages_behind(file)  # now: the run of these weights may go on
    logger.info("What they had cost until then: %s", described(stages))
    return model, stages


def place_model(config: DictConfig, model: nn.Module, session: Session) -> Placed:
    """Move a model to its device and precision; the average of its weights beside it, if the config wants one."""
    if session.mesh is not None:
        return _divide(config, model.to(session.dtype), session, session.mesh)
    model = model.to(session.device, session.dtype)
    ema = build_average(config, model)
    copies = None
    if ema is not None and session.dtype != torch.float32:
        copies = WholeCopies(by_suffix(without_weights(model), without_weights(model)))
    save_memory(config, model)
    return Placed(model, ema, copies)


def _divide(config: DictConfig, model: nn.Module, session: Session, mesh: DeviceMesh) -> Placed:
    """The same where processes divide the weights; each has had all of them on the CPU until here."""
    place_buffers(model, session.device)
    hollow = without_weights(model)
    ema = build_average(config, hollow)
    judged = by_suffix(hollow, None if ema is None else without_weights(hollow))
    shard(model, mesh, session.product_dtype)
    if ema is not None:
        divided_copy(ema.module, model)
    save_memory(config, model)
    return Placed(model, ema, WholeCopies(judged))


def save_memory(config: DictConfig, model: nn.Module) -> None:
    """Have a model compute again what it would keep, where the config wants it."""
    trainer = config.trainer
    if trainer.gradient_checkpointing or trainer.gradient_checkpointing_offload:
        recompute_activations(model, offload=trainer.gradient_checkpointing_offload)


def make_learner(config: DictConfig, placed: Placed, objective: Objective, session: Session) -> Learner:
    """Compile a model where the config wants it, and give it, and what its objective trains besides, an optimizer."""
    model, ema, copies = placed
    if config.trainer.compile:
        # A function is compiled so often and no oftener, however many runs of a sweep this process has had before.
        torch.compiler.reset()
        compile_model(model, session.device, config.trainer.compile)
    of_objective = nn.ModuleDict(objective.modules)
    optimizer = build_optimizer(config, model, of_objective)
    if session.mesh is not None:
        divide_loaded_state(optimizer)
    return Learner(model, optimizer, ema, of_objective, copies)
