"""One optimizer step: forward and backward of its micro-batches, clipping, the update, the average of the weights."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.data.batch import Batch
from aaa.data.randomness import generator
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
    """

    accelerator: Accelerator
    model: nn.Module
    optimizer: Optimizer
    ema: EMA | None
    loss: Loss
    batches: Batches
    schedule: Schedule
    of_loss: Sequence[nn.Module] = ()

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
    model, optimizer = trainee.model, trainee.optimizer
    for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
        group["lr"] = rate * trainee.schedule(progress.step)
    loss, terms, sample_losses, busy = _accumulate_gradients(trainee, settings, progress)
    norms = norms_by_part(model) if measure_norms else {}
    started = time.perf_counter()
    grad_norm = clip_gradients(trainee.parameters, settings.max_grad_norm or math.inf)
    taken = settings.on_nonfinite == "stop" or math.isfinite(grad_norm.item())
    if taken:
        optimizer.step()
    optimizer.zero_grad()
    busy += time.perf_counter() - started
    if taken and trainee.ema is not None:
        trainee.ema.update_parameters(trainee.accelerator.unwrap_model(model))
    return StepResult(loss, terms, sample_losses, grad_norm, norms, taken, busy)


def _accumulate_gradients(
    trainee: Trainee, settings: LoopSettings, progress: Progress
) -> tuple[Tensor, dict[str, Tensor], Tensor, float]:
    """Forward and backward of a step: mean loss, means of its terms, losses of samples, seconds in the model."""
    accelerator, micro_batches = trainee.accelerator, settings.gradient_accumulation_steps
    device, rank, processes = accelerator.device, accelerator.process_index, accelerator.num_processes
    step_loss = torch.zeros((), device=device)
    step_terms: dict[str, Tensor] = {}
    sample_losses = []
    busy = 0.0
    for micro in range(micro_batches):
        share = micro_batch(
            0, micro, rank, batch_size=settings.batch_size, micro_batches=micro_batches, processes=processes
        )
        positions = range(progress.samples + share.start, progress.samples + share.stop)
        batch = trainee.batches(positions).to(device)
        draws = generator(settings.seed, "step", progress.step, micro, rank, device=device)
        with nullcontext() if micro == micro_batches - 1 else accelerator.no_sync(trainee.model):
            started = time.perf_counter()
            terms = trainee.loss(trainee.model, batch, draws, progress.step)
            losses = sum_of(terms)
            micro_loss = losses.mean() / micro_batches
            accelerator.backward(micro_loss)
            busy += time.perf_counter() - started
        step_loss += micro_loss.detach()
        sample_losses.append(losses.detach())
        if len(terms) > 1:
            for name, term in terms.items():
                step_terms[name] = step_terms.get(name, 0) + term.detach().mean() / micro_batches
    return step_loss, step_terms, torch.cat(sample_losses), busy


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
