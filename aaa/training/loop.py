"""The training loop: batches in, optimizer steps, and every so often a look at what came out.

It knows nothing of diffusion: the loss is a function it is given, and so is whatever happens every N steps.
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.errors import UserError
from aaa.randomness import generator
from aaa.tracking.console import display
from aaa.training.ema import EMA
from aaa.training.lr_schedules import Schedule
from aaa.training.memory import peak_memory_gib

logger = logging.getLogger(__name__)

Loss = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
Batches = Callable[[range], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Watch:
    """Something to do every so many steps, and after the last one.

    Attributes:
        every_steps: 0 for never.
        action: called with the number of steps taken, by every process.
        when_stopped: also do it when a signal ends the run early.
    """

    every_steps: int
    action: Callable[[int], None]
    when_stopped: bool = False


@dataclass
class Progress:
    """How far a run is, and what it has measured since it last logged.

    Attributes:
        step: optimizer steps taken.
        seconds: spent training, over all resumes, without validation, pictures and checkpoints.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    grad_norms: list[Tensor] = field(default_factory=list)
    busy_seconds: float = 0.0
    window_seconds: float = 0.0


class NotFiniteError(UserError):
    """The loss or the gradient became NaN or infinite."""


def train_steps(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Optimizer,
    ema: EMA | None,
    loss: Loss,
    batches: Batches,
    schedule: Schedule,
    watches: Sequence[Watch],
    log: Callable[[int, dict[str, float]], None],
    progress: Progress,
    *,
    seed: int,
    max_steps: int,
    batch_size: int,
    gradient_accumulation_steps: int,
    max_grad_norm: float,
    log_every_steps: int,
) -> int | None:
    """Train until `max_steps` optimizer steps are taken, or until a signal asks to stop.

    Args:
        accelerator: places and synchronises; `model` and `optimizer` have been through its `prepare`.
        model: what is trained.
        optimizer: its step is one step of the run, however many micro-batches and processes share it.
        ema: moving average to update after each step, or None.
        loss: of each sample of a batch, given the model, latents, prompt_embeds and a generator.
        batches: the samples at these positions of the data order, on the CPU or on the device.
        schedule: factor on the optimizer's learning rates at each step.
        watches: what to do every so often.
        log: takes step and metrics; called on the main process.
        progress: where to start; kept up to date.
        seed: of all random draws, together with step, micro-batch and process.
        max_steps: when to end.
        batch_size: samples of a step, over all processes and micro-batches.
        gradient_accumulation_steps: micro-batches of a step.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        log_every_steps: how often losses are read back from the device.

    Returns:
        None at the end, or the number of the signal that ended it early, after the step it came in.

    Raises:
        NotFiniteError: if a loss or gradient norm is NaN or infinite.
    """
    device = accelerator.device
    share, remainder = divmod(batch_size, accelerator.num_processes * gradient_accumulation_steps)
    if remainder or not share:
        raise UserError(
            f"trainer.batch_size={batch_size} must be a multiple of {accelerator.num_processes} processes x "
            f"trainer.gradient_accumulation_steps={gradient_accumulation_steps}."
        )
    base_rates = [group["lr"] for group in optimizer.param_groups]
    parameters = list(model.parameters())
    model.train()
    with _signals() as received, _display(accelerator, max_steps, progress.step) as shown:
        while progress.step < max_steps:
            step = progress.step
            began = time.perf_counter()
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * schedule(step)
            step_loss = torch.zeros((), device=device)
            busy = 0.0
            for micro in range(gradient_accumulation_steps):
                first = step * batch_size + (micro * accelerator.num_processes + accelerator.process_index) * share
                latents, prompt_embeds = (
                    tensor.to(device, non_blocking=True) for tensor in batches(range(first, first + share))
                )
                draws = generator(seed, "step", step, micro, accelerator.process_index, device=device)
                last = micro == gradient_accumulation_steps - 1
                with nullcontext() if last else accelerator.no_sync(model):
                    started = time.perf_counter()
                    micro_loss = loss(model, latents, prompt_embeds, draws).mean() / gradient_accumulation_steps
                    accelerator.backward(micro_loss)
                    busy += time.perf_counter() - started
                step_loss += micro_loss.detach()
            started = time.perf_counter()
            grad_norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm or math.inf)
            optimizer.step()
            optimizer.zero_grad()
            busy += time.perf_counter() - started
            if ema is not None:
                ema.update_parameters(accelerator.unwrap_model(model))
            progress.step += 1
            progress.losses.append(step_loss)
            progress.grad_norms.append(grad_norm)
            signum = _any_signal(accelerator, received, progress.step, log_every_steps)
            due = [watch for watch in watches if _is_due(watch, progress.step, max_steps, stopping=signum is not None)]
            metrics = None
            if progress.step % log_every_steps == 0 or due or progress.step == max_steps or signum is not None:
                metrics = _read_back(accelerator, progress)
            elapsed = time.perf_counter() - began
            progress.seconds += elapsed
            progress.window_seconds += elapsed
            progress.busy_seconds += busy
            if metrics is not None:
                steps = len(progress.losses)
                metrics |= {
                    "samples": progress.step * batch_size,
                    "seconds": round(progress.seconds, 3),
                    "train/lr": optimizer.param_groups[0]["lr"],
                    "perf/images_per_second": steps * batch_size / progress.window_seconds,
                    "perf/step_seconds": progress.window_seconds / steps,
                    "perf/peak_memory_gib": peak_memory_gib(device),
                }
                if device.type == "cpu":  # on a GPU these calls return before the work is done
                    metrics["perf/outside_model_share"] = 1 - progress.busy_seconds / progress.window_seconds
                progress.losses, progress.grad_norms = [], []
                progress.window_seconds = progress.busy_seconds = 0.0
                if accelerator.is_main_process:
                    log(progress.step, metrics)
                shown(progress.step, metrics)
            else:
                shown(progress.step, None)
            for watch in due:
                watch.action(progress.step)
                model.train()
            if signum is not None:
                return signum
    return None


def _is_due(watch: Watch, step: int, max_steps: int, stopping: bool) -> bool:
    if not watch.every_steps:
        return False
    if stopping:
        return watch.when_stopped
    return step % watch.every_steps == 0 or step == max_steps


def _read_back(accelerator: Accelerator, progress: Progress) -> dict[str, float]:
    """Mean loss and gradient norm since the last call, over all processes.

    Losses are kept on the device until here: reading one makes the CPU wait for the GPU.
    """
    losses: Tensor = accelerator.reduce(torch.stack(progress.losses), reduction="mean")
    values, norms = losses.tolist(), torch.stack(progress.grad_norms).tolist()
    first_step = progress.step - len(values) + 1
    for offset, (value, norm) in enumerate(zip(values, norms, strict=True)):
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NotFiniteError(
                f"The loss became {value} (gradient norm {norm}) at step {first_step + offset}. Nothing was saved "
                "since; the last checkpoint is good. A lower optimizer.learning_rate, a longer warm-up or "
                "trainer.precision=float32 may help."
            )
    return {"train/loss": sum(values) / len(values), "train/grad_norm": sum(norms) / len(norms)}


@contextmanager
def _display(
    accelerator: Accelerator, max_steps: int, start: int
) -> Iterator[Callable[[int, dict[str, float] | None], None]]:
    if not accelerator.is_main_process:
        yield lambda _step, _metrics: None
        return
    with display("Training", max_steps, start) as bar:

        def show(step: int, metrics: dict[str, float] | None) -> None:
            figures = (
                {}
                if metrics is None
                else {"loss": metrics["train/loss"], "images/s": metrics["perf/images_per_second"]}
            )
            bar.update(step, **figures)

        yield show


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one ends the process at once."""
    received: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        if received:
            raise SystemExit(128 + signum)
        received.append(signum)
        logger.warning("%s: finishing this step and saving. Once more ends at once.", signal.Signals(signum).name)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _any_signal(accelerator: Accelerator, received: list[int], step: int, every_steps: int) -> int | None:
    """The signal that this process, or with several processes any of them, has received."""
    if accelerator.num_processes == 1:
        return received[0] if received else None
    if step % every_steps:
        return None  # asking the others costs a synchronisation
    signum = torch.tensor(received[0] if received else 0, device=accelerator.device)
    highest = int(accelerator.gather(signum[None]).max())
    return highest or None
