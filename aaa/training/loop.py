"""The training loop: batches in, optimizer steps, and every so often a look at what came out.

It knows nothing of diffusion: the loss is a function it is given, and so is whatever happens every N steps.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.data.split import micro_batch
from aaa.errors import UserError
from aaa.randomness import generator
from aaa.tracking.console import display
from aaa.training.checkpoint import UnloggedNumbers
from aaa.training.ema import EMA
from aaa.training.lr_schedules import Schedule
from aaa.training.memory import peak_memory_gib
from aaa.training.norms import as_numbers, norms_by_part
from aaa.training.oddities import OddStep, Spikes
from aaa.training.signals import Interrupted, StopSignals

# The terms of the loss by name, a number of each sample: their sum is what a step lowers.
Loss = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Mapping[str, Tensor]]
Batches = Callable[[range], tuple[Tensor, Tensor]]
OnNonfinite = Literal["stop", "skip"]


@dataclass(frozen=True)
class Watch:
    """Something to look at every so many steps, and after the last one.

    Attributes:
        name: tells it from the others.
        every_steps: 0 for never.
        action: called with the number of steps taken, by every process.
    """

    name: str
    every_steps: int
    action: Callable[[int], None]


@dataclass
class Unlogged:
    """What was measured since metrics were last logged; tensors stay on the device until then.

    Attributes:
        steps: those that were taken.
        losses, grad_norms: a number of each step.
        terms: of the loss, by name, where there are several: a number of each step.
        sample_losses: of each step, those of this process's samples; empty for steps of an earlier process.
        count: of steps, those that were skipped included.
        seconds, busy_seconds: of all these steps, and of that in the model and the optimizer.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    grad_norms: list[Tensor] = field(default_factory=list)
    terms: dict[str, list[Tensor]] = field(default_factory=dict)
    sample_losses: list[Tensor] = field(default_factory=list)
    count: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps taken, or skipped.
        seconds: spent training, over all resumes, without validation, pictures and checkpoints.
        skipped_steps: left out because their gradient was not finite.
        unlooked: names of watches that were due at this step and have not had their turn.
        unlogged: measured since the last row of metrics.
        samples: of these steps; the place in the data order where the next step begins.
    """

    step: int = 0
    seconds: float = 0.0
    skipped_steps: int = 0
    unlooked: list[str] = field(default_factory=list)
    unlogged: Unlogged = field(default_factory=Unlogged)
    samples: int = 0

    def unlogged_numbers(self) -> UnloggedNumbers:
        """What a resumed run needs to log the very row that this one would have logged."""
        window = self.unlogged
        return UnloggedNumbers(
            window.steps,
            [loss.item() for loss in window.losses],
            [norm.item() for norm in window.grad_norms],
            window.count,
            window.seconds,
            window.busy_seconds,
            {name: [value.item() for value in values] for name, values in window.terms.items()},
        )

    def take_up(self, numbers: UnloggedNumbers, device: torch.device) -> None:
        """Go on with what `unlogged_numbers` gave."""
        losses, grad_norms = (
            [torch.tensor(value, device=device) for value in values] for values in (numbers.losses, numbers.grad_norms)
        )
        unknown = [torch.empty(0, device=device) for _ in numbers.steps]
        self.unlogged = Unlogged(
            list(numbers.steps),
            losses,
            grad_norms,
            {name: [torch.tensor(value, device=device) for value in values] for name, values in numbers.terms.items()},
            unknown,
            numbers.count,
            numbers.seconds,
            numbers.busy_seconds,
        )


def sum_of(terms: Mapping[str, Tensor]) -> Tensor:
    """The loss of each sample, `B`, from its terms, `B` each."""
    return reduce(torch.add, terms.values())


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
    save: Callable[[int, bool], None],
    log: Callable[[int, dict[str, float]], None],
    tell: Callable[[OddStep], str],
    progress: Progress,
    signals: StopSignals,
    *,
    seed: int,
    max_steps: int,
    batch_size: int,
    gradient_accumulation_steps: int,
    max_grad_norm: float,
    log_every_steps: int,
    save_every_steps: int,
    save_at_steps: Collection[int] = (),
    on_nonfinite: OnNonfinite = "stop",
    max_skipped_steps: int = 0,
) -> int | None:
    """Train until `max_steps` optimizer steps are taken, or until a signal asks to stop.

    Args:
        accelerator: places and synchronises; `model` and `optimizer` have been through its `prepare`.
        model: what is trained.
        optimizer: its step is one step of the run, however many micro-batches and processes share it.
        ema: moving average to update after each step, or None.
        loss: its terms for each sample of a batch, given the model, latents, prompt_embeds and a generator.
        batches: the samples at these positions of the data order, on the CPU or on the device.
        schedule: factor on the optimizer's learning rates at each step.
        watches: what to do every so often; before saving, so that a checkpoint's step is wholly done.
        save: takes the step, and whether this is the last time; called by every process, after a signal too.
        log: takes step and metrics; called on the main process.
        tell: makes a step that went wrong or stands out known, and describes it; called on the main process.
        progress: where to start; kept up to date.
        signals: where signals to stop arrive.
        seed: of all random draws, together with step, micro-batch and process.
        max_steps: when to end.
        batch_size: samples of a step, over all processes and micro-batches.
        gradient_accumulation_steps: micro-batches of a step.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        log_every_steps: how often losses are read back from the device.
        save_every_steps: 0 for only when a signal comes.
        save_at_steps: further ones to save at.
        on_nonfinite: what a NaN or infinite gradient does: stop the run, or have its step left out. The latter looks
            at every step's gradient norm, for which a GPU is waited for.
        max_skipped_steps: how many steps may be left out before the run stops after all.

    Returns:
        None at the end, or the number of the signal that ended it early, after the step it came in.

    Raises:
        NotFiniteError: if a loss or gradient norm is NaN or infinite.
    """
    device = accelerator.device
    require_shares(batch_size, accelerator.num_processes, gradient_accumulation_steps)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    parameters = list(model.parameters())
    spikes = Spikes()
    model.train()
    with signals, _display(accelerator, max_steps, progress.step) as shown:
        _look(watches, progress, model)
        signum = _any_signal(accelerator, signals, progress.step, log_every_steps)
        while progress.step < max_steps and signum is None:
            step = progress.step
            began = time.perf_counter()
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * schedule(step)
            step_loss, terms, sample_losses, busy = _accumulate_gradients(
                accelerator, model, loss, batches, seed, progress, batch_size, gradient_accumulation_steps
            )
            due = [watch.name for watch in watches if _is_due(watch.every_steps, step + 1, max_steps)]
            saving = _is_due(save_every_steps, step + 1, max_steps) or step + 1 in save_at_steps
            is_logged = (step + 1) % log_every_steps == 0 or bool(due) or saving or step + 1 == max_steps
            norms = norms_by_part(model) if is_logged else {}
            started = time.perf_counter()
            grad_norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm or math.inf)
            taken = on_nonfinite == "stop" or math.isfinite(grad_norm.item())
            if taken:
                optimizer.step()
            optimizer.zero_grad()
            busy += time.perf_counter() - started
            progress.step += 1
            progress.samples += batch_size
            window = progress.unlogged
            if taken:
                if ema is not None:
                    ema.update_parameters(accelerator.unwrap_model(model))
                window.steps.append(progress.step)
                window.losses.append(step_loss)
                window.grad_norms.append(grad_norm)
                window.sample_losses.append(sample_losses)
                for name, term in terms.items():
                    window.terms.setdefault(name, []).append(term)
            else:
                progress.skipped_steps += 1
                skipped = OddStep("skipped", progress.step, step_loss.item(), grad_norm.item(), [])
                described = _describe(accelerator, skipped, sample_losses, tell)
                if progress.skipped_steps > max_skipped_steps:
                    raise NotFiniteError(
                        f"{described}\nNo more than trainer.max_skipped_steps={max_skipped_steps} steps may be left "
                        "out. The last checkpoint is good."
                    )
            metrics = None
            if is_logged:
                steps = _read_back(accelerator, progress, tell)
                metrics = _means(steps) | _term_means(accelerator, window)
                for odd, sample_losses_of_it in zip(steps, window.sample_losses, strict=True):
                    if spikes.is_spike(odd.loss):
                        _describe(accelerator, odd, sample_losses_of_it, tell)
            elapsed = time.perf_counter() - began
            progress.seconds += elapsed
            window.count += 1
            window.seconds += elapsed
            window.busy_seconds += busy
            if metrics is not None:
                metrics |= _standing(progress, batch_size, optimizer.param_groups[0]["lr"], device) | as_numbers(norms)
                progress.unlogged = Unlogged()
                if accelerator.is_main_process:
                    log(progress.step, metrics)
            shown(progress.step, metrics)
            progress.unlooked = due
            _look(watches, progress, model)
            signum = _any_signal(accelerator, signals, progress.step, log_every_steps)
            if saving or signum is not None:
                if signum is not None:
                    _read_back(accelerator, progress, tell)  # nothing that is not finite may be saved
                save(progress.step, signum is not None or progress.step == max_steps)
        return signum


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


def _accumulate_gradients(
    accelerator: Accelerator,
    model: nn.Module,
    loss: Loss,
    batches: Batches,
    seed: int,
    progress: Progress,
    batch_size: int,
    micro_batches: int,
) -> tuple[Tensor, dict[str, Tensor], Tensor, float]:
    """Forward and backward of a step.

    Returns:
        Its mean loss, the means of the loss's terms where there are several, the losses of its samples, and the
        seconds in the model.
    """
    device, rank, processes = accelerator.device, accelerator.process_index, accelerator.num_processes
    step_loss = torch.zeros((), device=device)
    step_terms: dict[str, Tensor] = {}
    sample_losses = []
    busy = 0.0
    for micro in range(micro_batches):
        share = micro_batch(0, micro, rank, batch_size=batch_size, micro_batches=micro_batches, processes=processes)
        positions = range(progress.samples + share.start, progress.samples + share.stop)
        latents, prompt_embeds = (tensor.to(device, non_blocking=True) for tensor in batches(positions))
        draws = generator(seed, "step", progress.step, micro, rank, device=device)
        with nullcontext() if micro == micro_batches - 1 else accelerator.no_sync(model):
            started = time.perf_counter()
            terms = loss(model, latents, prompt_embeds, draws)
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


def _standing(progress: Progress, batch_size: int, learning_rate: float, device: torch.device) -> dict[str, float]:
    """The part of a row of metrics that says how far and how fast the run is."""
    window = progress.unlogged
    metrics = {
        "samples": progress.samples,
        "seconds": round(progress.seconds, 3),
        "train/lr": learning_rate,
        "perf/images_per_second": window.count * batch_size / window.seconds,
        "perf/step_seconds": window.seconds / window.count,
        "perf/peak_memory_gib": peak_memory_gib(device),
    }
    if progress.skipped_steps:
        metrics["train/skipped_steps"] = progress.skipped_steps
    if device.type == "cpu":  # on a GPU these calls return before the work is done
        metrics["perf/outside_model_share"] = 1 - window.busy_seconds / window.seconds
    return metrics


def _look(watches: Sequence[Watch], progress: Progress, model: nn.Module) -> None:
    """Give the watches that are due their turns, until a signal ends one of them."""
    for watch in watches:
        if watch.name in progress.unlooked:
            try:
                watch.action(progress.step)
            except Interrupted:
                break
            finally:
                model.train()
            progress.unlooked.remove(watch.name)


def _means(steps: Sequence[OddStep]) -> dict[str, float]:
    if not steps:  # all were skipped
        return {}
    return {
        "train/loss": sum(step.loss for step in steps) / len(steps),
        "train/grad_norm": sum(step.grad_norm for step in steps) / len(steps),
    }


def _term_means(accelerator: Accelerator, window: Unlogged) -> dict[str, float]:
    """`train/loss_NAME` of each term of the loss, over all processes."""
    means: dict[str, float] = {}
    for name, values in window.terms.items():
        reduced: Tensor = accelerator.reduce(torch.stack(values), reduction="mean")
        means[f"train/loss_{name}"] = reduced.mean().item()
    return means


def _is_due(every_steps: int, step: int, max_steps: int) -> bool:
    return every_steps > 0 and (step % every_steps == 0 or step == max_steps)


def _read_back(accelerator: Accelerator, progress: Progress, tell: Callable[[OddStep], str]) -> list[OddStep]:
    """The steps since metrics were last logged, losses being means over all processes.

    Losses are kept on the device until here: reading one makes the CPU wait for the GPU.

    Raises:
        NotFiniteError: if a loss or gradient norm is NaN or infinite.
    """
    window = progress.unlogged
    if not window.losses:
        return []
    losses: Tensor = accelerator.reduce(torch.stack(window.losses), reduction="mean")
    window.losses = list(losses)
    norms = torch.stack(window.grad_norms).tolist()
    steps = [OddStep("spike", *numbers, []) for numbers in zip(window.steps, losses.tolist(), norms, strict=True)]
    for number, step in enumerate(steps):
        if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
            described = _describe(accelerator, replace(step, kind="not finite"), window.sample_losses[number], tell)
            raise NotFiniteError(
                f"{described}\nNothing was saved since; the last checkpoint is good. A lower optimizer.learning_rate, "
                "a longer warm-up or trainer.precision=float32 may help; trainer.on_nonfinite=skip leaves such "
                "steps out."
            )
    return steps


def _describe(accelerator: Accelerator, step: OddStep, sample_losses: Tensor, tell: Callable[[OddStep], str]) -> str:
    """Make an odd step known, with the losses of its samples from all processes."""
    gathered: Tensor = accelerator.gather(sample_losses)
    if not accelerator.is_main_process:
        return f"Step {step.step}: see the first process."
    by_process = gathered.view(accelerator.num_processes, -1).tolist() if len(gathered) else []
    return tell(replace(step, sample_losses=by_process))


@contextmanager
def _display(
    accelerator: Accelerator, max_steps: int, start: int
) -> Iterator[Callable[[int, dict[str, float] | None], None]]:
    if not accelerator.is_main_process:
        yield lambda _step, _metrics: None
        return
    with display("Training", max_steps, start) as bar:

        def show(step: int, metrics: dict[str, float] | None) -> None:
            named = {"train/loss": "loss", "perf/images_per_second": "images/s"}
            bar.update(step, **{name: metrics[key] for key, name in named.items() if metrics and key in metrics})

        yield show


def _any_signal(accelerator: Accelerator, signals: StopSignals, step: int, every_steps: int) -> int | None:
    """The signal that this process, or with several processes any of them, has received."""
    if accelerator.num_processes == 1:
        return signals.received
    if step % every_steps:
        return None  # asking the others costs a synchronisation
    signum = torch.tensor(signals.received or 0, device=accelerator.device)
    highest = int(accelerator.gather(signum[None]).max())
    return highest or None
