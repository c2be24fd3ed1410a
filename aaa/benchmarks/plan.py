"""What the runs of a sweep will take, told before the first of them starts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text
from torch import nn

from aaa.assembly.parts import build_optimizer, pick_device
from aaa.benchmarks.subject import make_subject
from aaa.config.checks import check_config
from aaa.config.mixture import shares_of
from aaa.errors import UserError
from aaa.models.costs import count_parameters
from aaa.run.budget import keep_to_parameters, seconds_of, steps_within
from aaa.tracking.printed import harmless, one_line
from aaa.training.fitting import measure_footprint
from aaa.training.parameter_groups import group_rates

# What changes neither the time nor the memory nor the FLOPs of a step: runs that differ in it are measured once.
COSTLESS = (
    *("name", "seed", "output_dir", "resume", "repeat", "init_from", "trust_config"),
    *("lr_scheduler", "checkpoint", "sampling", "validation", "budget", "sweep", "evaluation", "logger"),
    *("optimizer.learning_rate", "optimizer.adamw_learning_rate", "optimizer.weight_decay", "optimizer.decayed"),
    *("data.cache_dir", "data.validation_fraction", "data.parts", "trainer.collective_timeout_seconds"),
    *("model.name", "model.init", "trainer.batch_size", "trainer.max_steps", "trainer.max_skipped_steps"),
    *(f"trainer.{what}_every_steps" for what in ("log", "validate", "sample", "save", "evaluate")),
)


@dataclass(frozen=True)
class Plan:
    """Of one run.

    Attributes:
        overrides: that make it what it is.
        dim, depth: of the model.
        parameters: of it.
        steps, samples: to take.
        flops: of all its training.
        memory_gib: about, of a step.
        seconds: about, of training on this device.
        rates: of its groups of parameters, by their names, before the schedule.
        mixture: how much of all samples are of each data set, where there are several.
        problem: why it cannot run, or "".
    """

    overrides: Sequence[str]
    dim: int = 0
    depth: int = 0
    parameters: int = 0
    steps: int = 0
    samples: int = 0
    flops: float = math.nan
    memory_gib: float = math.nan
    seconds: float = math.nan
    rates: Mapping[str, float] = field(default_factory=dict)
    mixture: str = ""
    problem: str = ""


class Planner:
    """Plans runs, timing each kind of step once. Prompts are taken to be as long as they can be."""

    def __init__(self) -> None:
        self._measured: dict[str, _Measured] = {}

    def plan(self, config: DictConfig, overrides: Sequence[str]) -> Plan:
        """What this run will take on this machine; latents and prompts are made up, nothing is read or written."""
        try:
            check_config(config)
            keep_to_parameters(config)
            batch_size = config.trainer.batch_size
            if batch_size == "auto":
                return Plan(overrides, problem="trainer.batch_size=auto: known once it runs")
            parameters, flops_per_sample, memory, seconds, model = self._measure(config, int(batch_size))
            rates = group_rates(build_optimizer(config, model))
            steps = steps_within(
                config, None, flops_per_sample=flops_per_sample, batch_size=batch_size, time_step=lambda: seconds
            )
        except UserError as error:
            return Plan(overrides, problem=str(error).splitlines()[0])
        return Plan(
            overrides,
            config.model.dim,
            config.model.depth,
            parameters,
            steps,
            steps * batch_size,
            steps * batch_size * flops_per_sample,
            memory / 2**30,
            steps * seconds,
            rates,
            ", ".join(f"{share:.3g}% {name}" for name, share in shares_of(config.data).items()),
        )

    def _measure(self, config: DictConfig, batch_size: int) -> "_Measured":
        key = _cost_key(config, batch_size)
        if key not in self._measured:
            device = pick_device(config.trainer.device)
            subject = make_subject(config, device, precision=config.trainer.precision, compiled=False)
            try:
                footprint = measure_footprint(subject.trial_loss, subject.model, torch.device(device))
                numbers = iter(range(1_000_000))
                seconds = seconds_of(lambda: subject.bare_step(batch_size, next(numbers)))
                parameters = count_parameters(subject.model)
                bare = subject.accelerator.unwrap_model(subject.model).to("meta")
                self._measured[key] = _Measured(parameters, subject.flops, footprint.of(batch_size), seconds, bare)
            finally:
                subject.close()
        return self._measured[key]


class _Measured(NamedTuple):
    """What a step takes.

    Attributes:
        parameters: of the model.
        flops: of a sample.
        memory: in bytes.
        seconds: of a step.
        model: without its weights.
    """

    parameters: int
    flops: int
    memory: float
    seconds: float
    model: nn.Module


def _cost_key(config: DictConfig, batch_size: int) -> str:
    """All of a config but what is known not to change what a step takes, so that what is forgotten costs time only."""
    told: Any = OmegaConf.to_container(config, resolve=False)
    for name in COSTLESS:
        group, _, key = name.rpartition(".")
        (told[group] if group else told).pop(key, None)
    return repr((told, batch_size))


def as_table(plans: Sequence[Plan]) -> Table:
    """A row a run, and what they take together."""
    table = Table(title=f"{len(plans)} runs planned" if len(plans) > 1 else "1 run planned")
    for column in (
        "#",
        "run",
        "width x depth",
        "parameters",
        "steps",
        "samples",
        "FLOPs",
        "GiB",
        "time",
        "learning rate",
    ):
        table.add_column(column, justify="left" if column in ("run", "learning rate") else "right", overflow="fold")
    for number, plan in enumerate(plans):
        name = one_line(" ".join(plan.overrides))
        if plan.problem:
            table.add_row(str(number), Text(f"{name}\n{harmless(plan.problem)}"), *["-"] * 8)
            continue
        table.add_row(
            str(number),
            Text(f"{name}\nmixed: {plan.mixture}" if plan.mixture else name),
            f"{plan.dim} x {plan.depth}",
            f"{plan.parameters:,}",
            f"{plan.steps:,}",
            f"{plan.samples:,}",
            f"{plan.flops:.3g}",
            f"{plan.memory_gib:.1f}",
            _time(plan.seconds),
            _rates(plan.rates),
        )
    good = [plan for plan in plans if not plan.problem]
    flops, seconds = sum(plan.flops for plan in good), sum(plan.seconds for plan in good)
    table.caption = (
        f"together {flops:.3g} FLOPs and {_time(seconds)}, one after the other, without validation, pictures and "
        "checkpoints; prompts as long as they can be"
    )
    return table


def _rates(rates: Mapping[str, float]) -> Text:
    """A line a group of parameters, or the number alone where there is one rate for all."""
    lines = [f"{name} {rate:.3g}" for name, rate in rates.items()]
    return Text("\n".join(lines) if len(set(rates.values())) > 1 else f"{next(iter(rates.values())):.3g}")


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
