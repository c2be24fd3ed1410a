"""What the runs of a sweep will take, told before the first of them starts."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from aaa.assembly.parts import build_optimizer, build_sampling, model_without_weights
from aaa.benchmarks.subject import foreseen_subject, make_subject
from aaa.config.checks import check_config
from aaa.config.live_prompts import KEY as EMBEDS
from aaa.config.live_prompts import embeds_while_training
from aaa.config.mixture import shares_of
from aaa.devices import pick_device
from aaa.errors import UserError
from aaa.models.costs import TRAINING_FLOPS, count_parameters
from aaa.reports.columns import Column, caption, fill
from aaa.run.budget import keep_to_parameters, seconds_of, steps_within
from aaa.tracking.durations import duration
from aaa.tracking.printed import harmless, one_line
from aaa.training.fitting import MOST_SAMPLES, Footprint, largest_batch, require_fit
from aaa.training.parameter_groups import group_rates
from aaa.training.sharding import local_bytes
from aaa.training.step import require_shares
from aaa.training.timing import matmul_rate

logger = logging.getLogger(__name__)

NOT_JUDGED = "aaa.evaluation.none.NoEvaluation"
LITTLE = 0.03  # of a run's time
MOST_SECONDS = 5.0  # of a step that is timed, as far as its FLOPs foretell it

# What changes neither the time nor the memory nor the FLOPs of a step: runs that differ in it are measured once.
COSTLESS = (
    *("name", "seed", "output_dir", "resume", "repeat", "init_from", "trust_config"),
    *("lr_scheduler", "checkpoint", "sampling", "validation", "budget", "sweep", "evaluation", "logger"),
    *("optimizer.learning_rate", "optimizer.adamw_learning_rate", "optimizer.weight_decay", "optimizer.decayed"),
    *("data.cache_dir", "data.validation_fraction", "data.parts", "trainer.collective_timeout_seconds"),
    *("model.name", "model.init", "trainer.max_steps", "trainer.max_skipped_steps"),
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
        seconds: about, of training on this device; at least, where no step was timed.
        rates: of its groups of parameters, by their names, before the schedule.
        mixture: how much of all samples are of each data set, where there are several.
        fitting: samples of a step, where `trainer.batch_size=auto` has found them; else 0.
        untimed: why no step was timed, or "".
        problem: why it cannot run, or "".
        number: of the run among those of its sweep.
        judging: what its evaluation adds to its time, where that is more than a little, or "".
        embeds: whether prompts are embedded while it trains, which takes time that is not told.
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
    fitting: int = 0
    untimed: str = ""
    problem: str = ""
    number: int = 0
    judging: str = ""
    embeds: bool = False


class Planner:
    """Plans runs, timing each kind of step once, if it fits into memory and is foreseen to take no more than seconds.

    Prompts are taken to be as long as they can be.

    Args:
        say: tells people what is about to take a while.
    """

    def __init__(self, say: Callable[[str], object] = logger.info) -> None:
        self._say = say
        self._measured: dict[str, _Measured] = {}

    def plan(self, config: DictConfig, overrides: Sequence[str], number: int = 0) -> Plan:
        """What this run will take on this machine; latents and prompts are made up, nothing is read or written.

        Args:
            config: of the run.
            overrides: that make it what it is.
            number: of it, in its sweep.
        """
        try:
            check_config(config)
            keep_to_parameters(config)
            measured = self._measure(config, number)
            batch_size = measured.batch_size
            rates = group_rates(build_optimizer(config, measured.model))
            steps = steps_within(
                config,
                None,
                flops_per_sample=measured.flops,
                batch_size=batch_size,
                time_step=lambda: measured.seconds,
            )
        except UserError as error:
            return Plan(overrides, problem=str(error).splitlines()[0], number=number)
        return Plan(
            overrides,
            config.model.dim,
            config.model.depth,
            count_parameters(measured.model),
            steps,
            steps * batch_size,
            steps * batch_size * measured.flops,
            measured.memory / 2**30,
            steps * measured.seconds,
            rates,
            ", ".join(f"{share:.3g}% {name}" for name, share in shares_of(config.data).items()),
            batch_size if config.trainer.batch_size == "auto" else 0,
            measured.untimed,
            number=number,
            judging=_judging(config, steps, batch_size),
            embeds=embeds_while_training(config),
        )

    def _measure(self, config: DictConfig, number: int) -> "_Measured":
        key = _cost_key(config)
        if key not in self._measured:
            device = torch.device(pick_device(config.trainer.device, "trainer.device"))
            foreseen = _foresee_or_none(config, device)
            if foreseen is None or not foreseen.untimed:
                self._say(f"Timing a step of #{number} ...")
                foreseen = _take_steps(config, device)
            self._measured[key] = foreseen
        return self._measured[key]


def _judging(config: DictConfig, steps: int, batch_size: int) -> str:
    """What the evaluation of a run adds to the time of its training, as far as that is foreseen: by drawing pictures.

    How many those are the evaluation says itself; what it does with them no model has a part in.
    """
    pictures = OmegaConf.select(config, "evaluation.num_images")
    if not isinstance(pictures, int) or config.evaluation.get("_target_") == NOT_JUDGED:
        return ""
    sampling = build_sampling(config)
    tokens = (config.data.resolution // config.encoder.downscale_factor) ** 2
    passes = sampling.evaluations(sampling.sigmas(tokens))
    times = math.ceil(steps / (config.trainer.evaluate_every_steps or steps))
    share = times * pictures * passes / (TRAINING_FLOPS * steps * batch_size)
    if share < LITTLE:
        return ""
    judged = "once" if times == 1 else f"{times} times"
    return f"judged {judged}, which adds about {share:.0%} for each {pictures} pictures drawn (evaluation.num_images)"


class _Measured(NamedTuple):
    """What a step takes.

    Attributes:
        batch_size: of it.
        flops: of a sample.
        memory: in bytes.
        seconds: of a step.
        model: without its weights.
        untimed: why no step is timed, so that `seconds` are those that its FLOPs take at least; or "".
    """

    batch_size: int
    flops: int
    memory: float
    seconds: float
    model: nn.Module
    untimed: str


def _foresee_or_none(config: DictConfig, device: torch.device) -> _Measured | None:
    """What a step takes, told without taking one; None where a part of one's own asks for numbers that there are not.

    Raises:
        UserError: if no run has such parts.
    """
    try:
        return _foresee(config, device)
    except UserError:
        raise
    except Exception:
        logger.debug("This step cannot be foreseen.", exc_info=True)
        return None


def _foresee(config: DictConfig, device: torch.device) -> _Measured:
    trainer = config.trainer
    with foreseen_subject(config, device.type) as subject:
        footprint = subject.footprint()
        held = local_bytes(subject.model.parameters())  # which it is not yet, nor is their average
        averages = trainer.ema_decay or trainer.ema_memory
        footprint = replace(footprint, fixed=footprint.fixed + held * (2 if averages else 1))
        with FlopCounterMode(display=False) as counted:
            subject.bare_step(1, 0)  # the optimizer's too, which may be more than those of a batch
        dtype, flops = subject.session.product_dtype, subject.flops
    batch_size = _batch_size(config, footprint, device)
    seconds = (counted.get_total_flops() + (batch_size - 1) * flops) / _rate(device, dtype)
    untimed = f"a step would take {seconds:.0f} s or more" if seconds > MOST_SECONDS else ""
    try:
        require_fit(footprint, batch_size, 1, trainer.gradient_accumulation_steps, device)
    except UserError as error:
        untimed = str(error)
    memory = footprint.of(batch_size // trainer.gradient_accumulation_steps)
    return _Measured(batch_size, flops, memory, seconds, model_without_weights(config), untimed)


def _batch_size(config: DictConfig, footprint: Footprint, device: torch.device) -> int:
    """Of one process; of `auto` what a run of as many records would find, the least where not even that fits."""
    trainer = config.trainer
    parts = trainer.gradient_accumulation_steps
    if trainer.batch_size != "auto":
        require_shares(trainer.batch_size, 1, parts)
        return int(trainer.batch_size)
    taken = footprint.recorded() if trainer.cuda_graph is True else footprint
    try:
        return largest_batch(taken, 1, parts, MOST_SAMPLES * parts, device)
    except UserError:
        return int(parts)


@cache
def _rate(device: torch.device, dtype: torch.dtype) -> float:
    return matmul_rate(device, dtype, quick=True)


def _take_steps(config: DictConfig, device: torch.device) -> _Measured:
    """What a step takes, by taking some."""
    subject = make_subject(config, device.type, precision=config.trainer.precision, compiled=False)
    try:
        footprint = subject.footprint()
        batch_size, parts = _batch_size(config, footprint, device), config.trainer.gradient_accumulation_steps
        numbers = count()
        seconds = seconds_of(lambda: subject.bare_step(batch_size, next(numbers), micro_batches=parts), device)
        bare = subject.accelerator.unwrap_model(subject.model).to("meta")
        return _Measured(batch_size, subject.flops, footprint.of(batch_size // parts), seconds, bare, "")
    finally:
        subject.close()


def _cost_key(config: DictConfig) -> str:
    """All of a config but what is known not to change what a step takes, so that what is forgotten costs time only."""
    told: Any = OmegaConf.to_container(config, resolve=False)
    for name in COSTLESS:
        group, _, key = name.rpartition(".")
        (told[group] if group else told).pop(key, None)
    return repr(told)


def as_table(plans: Sequence[Plan], width: int | None = None) -> Table:
    """A row a run, and what they take together.

    Args:
        plans: of the runs; what `notes` has of them is not in it.
        width: letters that there is room for, else columns are left out; None for any number.
    """
    rows = [_row(plan) for plan in plans]
    titles = ("#", "run", "time", "GiB", "parameters", "steps", "learning rate", "FLOPs", "samples", "width x depth")
    columns = [
        Column(title, [Text(value) for value in values], has_numbers=title != "run")
        for title, *values in zip(titles, *rows, strict=True)
    ]
    table = Table(title="1 run planned" if len(plans) == 1 else f"{len(plans)} runs planned")
    absent = fill(table, columns, width, always=3)
    good = [plan for plan in plans if not plan.problem]
    flops, seconds = sum(plan.flops for plan in good), sum(plan.seconds for plan in good)
    over = "over " if any(plan.untimed for plan in good) else ""
    together = (
        f"together {flops:.3g} FLOPs and {over}{duration(seconds)}, one after the other, without validation, pictures, "
        "evaluation and checkpoints; prompts as long as they can be"
    )
    table.caption = caption([together], absent, "a wider terminal, or a file")
    return table


def notes(plans: Sequence[Plan]) -> Iterator[str]:
    """Lines on runs, for below the table: why one cannot run or was not timed, what it leaves out, and the like."""
    for plan in plans:
        number = plan.number
        if plan.problem:
            yield f"#{number} cannot run: {harmless(plan.problem)}"
        if plan.mixture:
            yield f"#{number} mixed: {plan.mixture}"
        if plan.fitting:
            yield f"#{number} trainer.batch_size=auto: planned with {plan.fitting}; fewer where there are fewer records"
        if plan.untimed:
            yield f"#{number} not timed: {harmless(plan.untimed)}"
        if plan.embeds:
            yield f"#{number} {EMBEDS}=false: time and FLOPs of the text encoder, and its memory, come on top"
        if len(set(plan.rates.values())) > 1:
            rates = ", ".join(f"{name} {rate:.3g}" for name, rate in plan.rates.items())
            yield f"#{number} learning rates: {rates}"
    judging: dict[str, list[str]] = {}
    for plan in plans:
        judging.setdefault(plan.judging, []).append(f"#{plan.number}")
    for told, numbers in judging.items():
        if told:
            yield f"{', '.join(numbers)} {told}"


def _row(plan: Plan) -> list[str]:
    name = one_line(" ".join(plan.overrides))
    if plan.problem:
        return [str(plan.number), name, *["-"] * 8]
    rates = sorted({f"{rate:.3g}": rate for rate in plan.rates.values()}.items(), key=lambda told: told[1])
    return [
        str(plan.number),
        name,
        f"{'over ' if plan.untimed else ''}{duration(plan.seconds)}",
        f"{plan.memory_gib:.1f}",
        f"{plan.parameters:,}",
        f"{plan.steps:,}",
        " to ".join(dict.fromkeys((rates[0][0], rates[-1][0]))),
        f"{plan.flops:.3g}",
        f"{plan.samples:,}",
        f"{plan.dim} x {plan.depth}",
    ]
