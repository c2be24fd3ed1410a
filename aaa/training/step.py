"""One optimizer step: forward and backward of its micro-batches, clipping, the update, the average of the weights."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.data.batch import Batch
from aaa.data.randomness import seed_of
from aaa.data.split import micro_batch
from aaa.errors import UserError
from aaa.training.ema import EMA
from aaa.training.lr_schedules import Schedule
from aaa.training.norms import clip_gradients, norms_by_part
from aaa.training.progress import Progress
from aaa.training.settings import LoopSettings

# The terms of the loss by name, a number of each sample, at a step, from 0: their sum is what the step lowers.
Loss = Callable[[nn.Module, Batch, torch.Generator, int], Mapping[str, Tensor]]
# The samples at these positions of the data order, on the CPU or on the device.
Batches = Callable[[range], Batch]


@dataclass(frozen=True)
class Trainee:
    """What is trained, and on what.

    Attributes:
        accelerator: places and synchronises; `model` and `optimizer` have been through its `prepare`.
        model: what is trained.
        optimizer: its step is one step of the run, however many micro-batches and processes share it.
        ema: moving average to update after each step, or None.
        loss: its terms for each sample of a batch, given the model, the batch, a generator and the number of the step.
        batches: the samples.
        schedule: factor on the optimizer's learning rates at each step.
        of_loss: what the loss trains besides the model, if anything; prepared as well.
        unrecordable: why its loss must be computed anew at each step, a sentence; None: see cuda_graph.py.
    """

    accelerator: Accelerator
    model: nn.Module
    optimizer: Optimizer
    ema: EMA | None
    loss: Loss
    batches: Batches
    schedule: Schedule
    of_loss: Sequence[nn.Module] = ()
    unrecordable: str | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [parameter for module in (self.model, *self.of_loss) for parameter in module.parameters()]


class StepResult(NamedTuple):
    """What came of a step; tensors stay on the device.

    Attributes:
        loss: mean over this process's samples.
        terms: means of the loss's terms, where there are several.
        sample_losses: of this process's samples.
        grad_norm: before clipping.
        norms: of weights and gradients by part of the model, where they were asked for.
        taken: whether the weights were updated.
        busy_seconds: in the model and the optimizer.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]
    sample_losses: Tensor
    grad_norm: Tensor
    norms: Mapping[str, Tensor]
    taken: bool
    busy_seconds: float


class MicroBatch(NamedTuple):
    """What a forward and a backward pass are of.

    Attributes:
        batch: this process's samples, on the device.
        draws: where all that is random comes from.
    """

    batch: Batch
    draws: torch.Generator


def take_step(
    trainee: Trainee, settings: LoopSettings, progress: Progress, base_rates: list[float], *, measure_norms: bool
) -> StepResult:
    """Take the step that `progress` is before.

    Args:
        trainee: is changed.
        settings: of the run.
        progress: says which step; not changed.
        base_rates: learning rates of the optimizer's groups, which the schedule multiplies.
        measure_norms: whether to measure norms by part.
    """
    set_rates(trainee, progress, base_rates)
    micro_batches = micro_batches_of(trainee, settings, progress)
    step = update_weights(trainee, settings, micro_batches, progress.step, measure_norms=measure_norms)
    if step.taken and trainee.ema is not None:
        trainee.ema.update_parameters(trainee.accelerator.unwrap_model(trainee.model))
    return step


def set_rates(trainee: Trainee, progress: Progress, base_rates: list[float]) -> None:
    """Give the optimizer the learning rates of the step that `progress` is before."""
    for group, rate in zip(trainee.optimizer.param_groups, base_rates, strict=True):
        group["lr"] = rate * trainee.schedule(progress.step)


def micro_batches_of(trainee: Trainee, settings: LoopSettings, progress: Progress) -> Iterator[MicroBatch]:
    """This process's share of the step that `progress` is before; fetched one by one, as each is asked for."""
    accelerator = trainee.accelerator
    for micro, positions in enumerate(positions_of(trainee, settings, progress)):
        seed = step_seed(trainee, settings, progress, micro)
        if not micro:
            seed_torch(seed, accelerator.device)
        draws = torch.Generator(accelerator.device).manual_seed(seed)
        yield MicroBatch(trainee.batches(positions).to(accelerator.device), draws)


def positions_of(trainee: Trainee, settings: LoopSettings, progress: Progress) -> list[range]:
    """Where in the data order this process's samples of each micro-batch of a step are."""
    accelerator, count = trainee.accelerator, settings.gradient_accumulation_steps
    rank, processes = accelerator.process_index, accelerator.num_processes
    sizes = {"batch_size": settings.batch_size, "micro_batches": count, "processes": processes}
    shares = [micro_batch(0, micro, rank, **sizes) for micro in range(count)]
    return [range(progress.samples + share.start, progress.samples + share.stop) for share in shares]


def seed_torch(seed: int, device: torch.device) -> None:
    """Have torch's own generators go by the step: parts may draw from where they like, as `nn.Dropout` does."""
    own = seed_of(seed, "torch's own")
    torch.default_generator.manual_seed(own)
    if device.type == "cuda":  # `torch.manual_seed` looks for devices of every kind, each time
        torch.cuda.manual_seed(own)
    elif device.type == "mps":
        torch.mps.manual_seed(own)


def step_seed(trainee: Trainee, settings: LoopSettings, progress: Progress, micro: int) -> int:
    """The seed of all that is random in a micro-batch of the step that `progress` is before."""
    return seed_of(settings.seed, "step", progress.step, micro, trainee.accelerator.process_index)


def update_weights(
    trainee: Trainee, settings: LoopSettings, micro_batches: Iterable[MicroBatch], number: int, *, measure_norms: bool
) -> StepResult:
    """A step but for the average of the weights: gradients of all micro-batches, clipping, the optimizer's update.

    Args:
        trainee: is changed.
        settings: of the run.
        micro_batches: as many as a step has.
        number: of the step, from 0.
        measure_norms: whether to measure norms by part.
    """
    model, optimizer = trainee.model, trainee.optimizer
    loss, terms, sample_losses, busy = _accumulate_gradients(trainee, settings, micro_batches, number)
    norms = norms_by_part(model) if measure_norms else {}
    started = time.perf_counter()
    grad_norm = clip_gradients(trainee.parameters, settings.max_grad_norm or math.inf)
    taken = settings.on_nonfinite == "stop" or math.isfinite(grad_norm.item())
    if taken:
        optimizer.step()
    optimizer.zero_grad()
    busy += time.perf_counter() - started
    return StepResult(loss, terms, sample_losses, grad_norm, norms, taken, busy)


def _accumulate_gradients(
    trainee: Trainee, settings: LoopSettings, micro_batches: Iterable[MicroBatch], number: int
) -> tuple[Tensor, dict[str, Tensor], Tensor, float]:
    """Forward and backward of a step: mean loss, means of its terms, losses of samples, seconds in the model."""
    accelerator, count = trainee.accelerator, settings.gradient_accumulation_steps
    step_loss = torch.zeros((), device=accelerator.device)
    step_terms: dict[str, Tensor] = {}
    sample_losses = []
    busy = 0.0
    for micro, (batch, draws) in enumerate(micro_batches, start=1):
        with nullcontext() if micro == count else _unsynchronised(trainee):
            started = time.perf_counter()
            terms = trainee.loss(trainee.model, batch, draws, number)
            losses = sum_of(terms)
            micro_loss = losses.mean() / count
            accelerator.backward(micro_loss)
            busy += time.perf_counter() - started
        step_loss += micro_loss.detach()
        sample_losses.append(losses.detach())
        if len(terms) > 1:
            for name, term in terms.items():
                step_terms[name] = step_terms.get(name, 0) + term.detach().mean() / count
    return step_loss, step_terms, torch.cat(sample_losses), busy


@contextmanager
def _unsynchronised(trainee: Trainee) -> Iterator[None]:
    """A block whose gradients processes keep to themselves, to average the sum of them once."""
    with ExitStack() as kept:
        for module in (trainee.model, *trainee.of_loss):
            kept.enter_context(trainee.accelerator.no_sync(module))
        yield


def sum_of(terms: Mapping[str, Tensor]) -> Tensor:
    """The loss of each sample, `B`, from its terms, `B` each."""
    return reduce(torch.add, terms.values())


def require_shares(batch_size: int, processes: int, micro_batches: int) -> None:
    """Refuse a batch that cannot be shared out.

    Raises:
        UserError: naming the keys.
    """
    if batch_size % (processes * micro_batches):
        raise UserError(
            f"trainer.batch_size={batch_size} must be a multiple of {processes} processes x "
            f"trainer.gradient_accumulation_steps={micro_batches}."
        )
