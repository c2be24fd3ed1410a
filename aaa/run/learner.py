"""What learns in a run: the model, the average of its weights, its optimizer."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.parts import build_average, build_model, build_optimizer
from aaa.objectives.flow_matching import Objective
from aaa.run.budget import keep_to_parameters
from aaa.run.origin import Origin
from aaa.run.session import Session
from aaa.run.starting_weights import start_from
from aaa.training.compiling import compile_model
from aaa.training.ema import EMA
from aaa.training.recomputing import recompute_activations


@dataclass(frozen=True)
class Learner:
    """What learns.

    Attributes:
        model: with the weights.
        optimizer: of them.
        ema: their moving average, or None.
        of_objective: what the terms of the objective train of their own, by their names; nobody else knows it.
    """

    model: nn.Module
    optimizer: Optimizer
    ema: EMA | None
    of_objective: nn.ModuleDict

    @property
    def judged(self) -> dict[str, nn.Module]:
        """What to validate and to draw with, by the suffix of its metrics: the average, if any, and the raw weights.

        The first is the one that counts.
        """
        models: dict[str, nn.Module] = {} if self.ema is None else {"": self.ema.module}
        return models | {"_raw" if models else "": self.model}


def start_model(config: DictConfig, origin: Origin) -> nn.Module:
    """The configured model, of the width that a budget of parameters gives it, with the weights that a run starts from.

    Those are random ones, of the run's seed, unless `init_from` names others; a checkpoint's come later.

    Raises:
        UserError: if there is no such model, or the weights are another's.
    """
    keep_to_parameters(config)
    torch.manual_seed(config.seed)
    model = build_model(config)
    if config.init_from is not None and origin.before is None:
        start_from(Path(config.init_from), model, config.model)
    return model


def place_model(config: DictConfig, model: nn.Module, session: Session) -> tuple[nn.Module, EMA | None]:
    """Move a model to its device and precision; the average of its weights beside it, if the config wants one."""
    trainer = config.trainer
    model = model.to(session.device, session.dtype)
    ema = build_average(config, model)
    if trainer.gradient_checkpointing or trainer.gradient_checkpointing_offload:
        recompute_activations(model, offload=trainer.gradient_checkpointing_offload)
    return model, ema


def make_learner(
    config: DictConfig, model: nn.Module, ema: EMA | None, objective: Objective, session: Session
) -> Learner:
    """Compile a model where the config wants it, and give it, and what its objective trains besides, an optimizer."""
    if config.trainer.compile:
        compile_model(model, session.device, config.trainer.compile)
    of_objective = nn.ModuleDict(objective.modules)
    return Learner(model, build_optimizer(config, model, of_objective), ema, of_objective)
