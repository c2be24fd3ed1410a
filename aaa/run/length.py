"""How much a run does: samples of a step, steps in all, and what that costs."""

import logging
import math
from dataclasses import dataclass
from functools import partial

from omegaconf import DictConfig, OmegaConf
from torch import nn

from aaa.assembly.parts import build_optimizer, build_schedule
from aaa.assembly.training_data import TrainingData
from aaa.objectives.costs import training_flops
from aaa.run.batch_size import fitting_batch_size
from aaa.run.budget import seconds_of, steps_within
from aaa.run.crawling import why_it_crawls
from aaa.run.cuda_graph import records_steps
from aaa.run.longer import parting_checkpoint, unaffected_steps
from aaa.run.origin import Origin
from aaa.run.trial import Trial
from aaa.saved.checkpoint_folders import step_of
from aaa.training.fitting import measure_footprint
from aaa.training.lr_schedules import Schedule

logger = logging.getLogger(__name__)

OURS = "aaa.training.lr_schedules."


@dataclass(frozen=True)
class RunLength:
    """How much a run does.

    Attributes:
        batch_size: samples of a step, over all processes and micro-batches.
        max_steps: in all.
        schedule: factor on the learning rate at each.
        branching_step: the last one whose learning rate a longer run shares, where that is worth a checkpoint.
        flops_per_sample: floating-point operations of forward and backward pass.
        parting_step: of the checkpoint that a run whose length has changed once parts from its earlier self after, if
            any.
        recorded: whether steps are recorded as CUDA graphs.
        earlier_kept: steps whose checkpoints an earlier session of the run meant to keep.
    """

    batch_size: int
    max_steps: int
    schedule: Schedule
    branching_step: int | None
    flops_per_sample: int
    parting_step: int | None = None
    recorded: bool = False
    earlier_kept: tuple[int, ...] = ()

    @property
    def extra_saves(self) -> tuple[int, ...]:
        """Steps to save at besides the regular ones."""
        return () if self.branching_step is None else (self.branching_step,)

    @property
    def step_before_decay(self) -> int | None:
        """Of the checkpoint that a longer run goes on from, if there is one: all before it is as it would be there."""
        return self.branching_step if self.parting_step is None else self.parting_step

    @property
    def kept_steps(self) -> tuple[int, ...]:
        """Steps whose checkpoints are kept besides the newest and the best: what goes on from there is another run."""
        parting = () if self.parting_step is None else (self.parting_step,)
        return tuple(sorted({*self.extra_saves, *parting, *self.earlier_kept}))


def _seconds_of_step(config: DictConfig, trial: Trial, batch_size: int, micro_batches: int) -> float:
    with trial.steps(partial(build_optimizer, config), batch_size, micro_batches) as step:
        return seconds_of(step, trial.session.device)


def unreached_rate(config: DictConfig, length: RunLength) -> str | None:
    """What is to be said of a warm-up that a run is too short for; None if it reaches its learning rate."""
    warmup = OmegaConf.select(config, "lr_scheduler.warmup_steps")
    if not isinstance(warmup, int) or not OmegaConf.select(config, "lr_scheduler._target_").startswith(OURS):
        return None
    highest = max(map(length.schedule, range(min(warmup, length.max_steps))), default=1.0)
    if highest >= 1:
        return None
    return (
        f"lr_scheduler.warmup_steps={warmup} of {length.max_steps} steps: the learning rate rises to {highest:.0%} of "
        f"what it is set to, and no further: lr_scheduler.warmup_steps={length.max_steps // 10}, or train longer"
    )


def plan_length(config: DictConfig, trial: Trial, data: TrainingData, origin: Origin) -> RunLength:
    """Find the batch size that fits, the steps that the budget allows, and whether these are recorded.

    Raises:
        UserError: if the batch does not fit, or not a single step does.
    """
    trainer, accelerator = config.trainer, trial.session.accelerator
    micro_batches = trainer.gradient_accumulation_steps
    parts = micro_batches * accelerator.num_processes
    _, height, width = max(data.cache.shapes, key=math.prod)
    flops_per_sample = training_flops(
        trial.model,
        trial.objective,
        height,
        width,
        data.cache.prompt_shape[0],
        channels=config.model.in_channels,
        text_dim=config.model.text_dim,
    )
    most = {} if trainer.batch_size == "auto" else {"most": trainer.batch_size // parts}
    least_samples = micro_batches * max(1, most.get("most", 1))
    if crawls := why_it_crawls(flops_per_sample * least_samples, accelerator.device, trial.session.product_dtype):
        logger.warning(crawls)
    in_buckets = accelerator.num_processes > 1 and trial.session.mesh is None
    footprint = measure_footprint(
        trial.loss,
        trial.model,
        accelerator.device,
        **most,
        in_buckets=in_buckets,
        optimizer=build_optimizer(config, trial.model, nn.ModuleDict(trial.objective.modules)),
    )
    batch_size = fitting_batch_size(
        trainer.batch_size,
        origin.earlier_run,
        footprint.recorded() if trainer.cuda_graph is True else footprint,
        trial.session,
        micro_batches=micro_batches,
        records=len(data.train_records),
    )
    samples = batch_size // parts
    recorded = records_steps(config, trial, footprint, samples, flops_per_sample)
    max_steps = steps_within(
        config,
        origin.earlier_run,
        origin.before,
        flops_per_sample=flops_per_sample,
        batch_size=batch_size,
        time_step=partial(_seconds_of_step, config, trial, batch_size, micro_batches),
    )
    max_steps = trial.session.processes.of_first(max_steps)
    make = partial(build_schedule, config)
    undecayed = unaffected_steps(make, max_steps)
    # A run that is to be longer goes on from there.
    branching_step = undecayed if trainer.save_every_steps and 0 < undecayed < max_steps else None
    parting = None if origin.before is None else parting_checkpoint(origin.before, make, max_steps)
    earlier = None if origin.before is None else origin.before.state.parting_step
    parting_step = earlier if parting is None else min(step_of(parting), earlier or max_steps)
    kept = () if origin.before is None or origin.branches_off else tuple(origin.before.state.kept_steps)
    schedule = make(max_steps)
    return RunLength(batch_size, max_steps, schedule, branching_step, flops_per_sample, parting_step, recorded, kept)
