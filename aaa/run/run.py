"""The parts of a training run, which the recipe in aaa/train.py puts together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.own_prompts import OwnPrompts
from aaa.assembly.training_data import TrainingData
from aaa.models.costs import count_parameters
from aaa.objectives.cuda_graph import why_unrecordable
from aaa.objectives.flow_matching import Objective
from aaa.run.anomaly_log import AnomalyLog
from aaa.run.latent_loader import LatentLoader
from aaa.run.learner import Learner
from aaa.run.length import RunLength
from aaa.run.origin import Origin
from aaa.run.resolved import resolve_run
from aaa.run.session import Session
from aaa.run.shaping import shaping_settings
from aaa.run.trial import loss_in
from aaa.tracking.stages import Stage
from aaa.training.progress import Progress
from aaa.training.settings import LoopSettings
from aaa.training.step import Trainee


@dataclass(frozen=True)
class Run:
    """What a run consists of.

    Attributes:
        config: composed.
        session: computes.
        origin: its folder, and what it goes on with.
        data: what it is trained and validated on.
        loader: gives the batches.
        objective: what is learned.
        learner: what learns.
        length: how much it does.
        progress: how far it is.
        own_prompts: drawn beside the records, if any are.
        stages: of training before this run, whose weights it began from; the first first.
    """

    config: DictConfig
    session: Session
    origin: Origin
    data: TrainingData
    loader: LatentLoader
    objective: Objective
    learner: Learner
    length: RunLength
    progress: Progress
    own_prompts: OwnPrompts | None = None
    stages: Sequence[Stage] = ()

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The config with all values, without secrets."""
        return resolve_run(self.config, self.data, self.length, self.own_prompts)

    @cached_property
    def parameters(self) -> int:
        """Of the model."""
        return count_parameters(self.learner.model)

    @property
    def settings(self) -> dict[str, Any]:
        """What shapes the weights, by dotted key."""
        return shaping_settings(self.resolved, processes=self.session.accelerator.num_processes)

    @property
    def flops(self) -> int:
        """Floating-point operations of all training so far."""
        before, samples = self.origin.before, self.progress.samples
        if before is None or before.flops is None:
            return samples * self.length.flops_per_sample
        return before.flops + (samples - before.samples) * self.length.flops_per_sample

    @property
    def loop_settings(self) -> LoopSettings:
        """How long, how much at once, how often."""
        trainer = self.config.trainer
        return LoopSettings(
            seed=self.config.seed,
            max_steps=self.length.max_steps,
            batch_size=self.length.batch_size,
            gradient_accumulation_steps=trainer.gradient_accumulation_steps,
            max_grad_norm=trainer.max_grad_norm,
            log_every_steps=trainer.log_every_steps,
            save_every_steps=trainer.save_every_steps,
            save_at_steps=(*self.length.extra_saves, *self._last_step_of_one_that_was_stopped),
            on_nonfinite=trainer.on_nonfinite,
            max_skipped_steps=trainer.max_skipped_steps,
            cuda_graph=trainer.cuda_graph if self.length.recorded else False,
        )

    @property
    def _last_step_of_one_that_was_stopped(self) -> tuple[int, ...]:
        """The last step, where a checkpoint before it would make a finished run look as if it had more to do."""
        went_on = self.origin.before is not None and not self.origin.branches_off
        return (self.length.max_steps,) if went_on else ()

    def trainee(self) -> Trainee:
        """What the loop trains, prepared by accelerate."""
        accelerator, learner = self.session.accelerator, self.learner
        model: nn.Module = learner.model
        optimizer: Optimizer = learner.optimizer
        if self.session.mesh is None:
            model, optimizer = accelerator.prepare(model, optimizer)
        else:  # its processes average gradients by themselves; what is left for accelerate is the precision
            model = accelerator.prepare_model(model, evaluation_mode=True)
        of_loss = {name: accelerator.prepare(module) for name, module in learner.of_objective.items()}
        self.objective.use(of_loss)
        return Trainee(
            accelerator,
            model,
            optimizer,
            learner.ema,
            loss_in(self.session.dtype, self.objective),
            self.loader.batches,
            self.length.schedule,
            list(of_loss.values()),
            why_unrecordable(self.objective, learner.model),
        )

    def anomaly_log(self) -> AnomalyLog:
        """Traces steps that stand out to their samples."""
        folder, model, device = self.origin.folder.path, self.learner.model, self.session.device
        writes = self.session.is_main
        return AnomalyLog(folder, self.loader, self.objective, model, self.loop_settings, self.progress, device, writes)
