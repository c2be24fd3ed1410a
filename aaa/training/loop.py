"""The training loop: batches in, optimizer steps, and every so often a look at what came out.

It knows nothing of diffusion: the loss is a function it is given, and so is whatever happens every N steps.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import nn

from aaa.tracking.console import display
from aaa.training.anomalies import Anomaly
from aaa.training.callbacks import Callback, is_due, run_pending
from aaa.training.cuda_graph import RecordedSteps
from aaa.training.measuring import Measuring
from aaa.training.norms import as_numbers
from aaa.training.parameter_groups import learning_rates
from aaa.training.progress import Progress, Window
from aaa.training.settings import LoopSettings
from aaa.training.signals import StopSignals
from aaa.training.step import Trainee, require_shares, take_step

Show = Callable[[int, Mapping[str, float] | None], None]


@dataclass(frozen=True)
class Hooks:
    """What the loop calls.

    Attributes:
        callbacks: what to do every so often; before saving, so that a checkpoint's step is wholly done.
        save: takes the step, and whether this is the last time; called by every process, after a signal too.
        log: takes step and metrics; called on the main process.
        report: makes a step that went wrong or stands out known, and describes it; called by every process.
        looking: a block that callbacks are called in, by every process.
    """

    callbacks: Sequence[Callback]
    save: Callable[[int, bool], None]
    log: Callable[[int, dict[str, float]], None]
    report: Callable[[Anomaly], str]
    looking: Callable[[], AbstractContextManager[None]] = nullcontext


def fit(
    trainee: Trainee,
    settings: LoopSettings,
    hooks: Hooks,
    progress: Progress,
    signals: StopSignals,
    recorded: RecordedSteps | None = None,
) -> int | None:
    """Train until `max_steps` optimizer steps are taken, or until a signal asks to stop.

    Args:
        trainee: what is trained, and on what.
        settings: how long, how much at once, how often.
        hooks: what happens besides.
        progress: where to start; kept up to date.
        signals: where signals to stop arrive.
        recorded: steps of this trainee that were recorded before, if they are to be launched at once.

    Returns:
        None at the end, or the number of the signal that ended it early, after the step it came in.

    Raises:
        NotFiniteError: if a loss or gradient norm is NaN or infinite.
        UserError: if a batch cannot be shared out, or steps are to be recorded and cannot be.
    """
    accelerator, optimizer = trainee.accelerator, trainee.optimizer
    require_shares(settings.batch_size, accelerator.num_processes, settings.gradient_accumulation_steps)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    if settings.cuda_graph and recorded is None:
        recorded = RecordedSteps(trainee, settings)
    take = partial(take_step, trainee, settings) if recorded is None else recorded.take
    measuring = Measuring(accelerator, settings, hooks.report)
    trainee.model.train()
    with signals, _progress_bar(accelerator, settings.max_steps, progress.step) as show:
        left = list(progress.unlooked)  # by a signal that ended this run before
        _look(hooks, progress, trainee.model)
        if progress.unlooked != left:  # or whoever goes on next would look at it once more
            hooks.save(progress.step, True)
        signum = _any_signal(accelerator, signals, progress.step, settings.log_every_steps)
        while progress.step < settings.max_steps and signum is None:
            began = time.perf_counter()
            pending, saving, logging = _due_after(progress.step + 1, settings, hooks.callbacks)
            step = take(progress, base_rates, measure_norms=logging)
            measuring.take_in(step, progress)
            metrics = measuring.means(progress.window) if logging else None
            _count_time(progress, time.perf_counter() - began, step.busy_seconds)
            if metrics is not None:
                metrics |= measuring.standing(progress, learning_rates(optimizer)) | as_numbers(step.norms)
                progress.window = Window()
                if accelerator.is_main_process:
                    hooks.log(progress.step, metrics)
            show(progress.step, metrics)
            progress.unlooked = pending
            try:
                _look(hooks, progress, trainee.model)
            except Exception:  # in a metric of one's own, say: no step that was taken is lost for it
                if accelerator.num_processes == 1:  # others would wait for one that has failed
                    measuring.read_back(progress.window)
                    hooks.save(progress.step, True)
                raise
            signum = _any_signal(accelerator, signals, progress.step, settings.log_every_steps)
            if signum is not None:
                measuring.read_back(progress.window)  # nothing that is not finite may be saved
            if saving or signum is not None:
                hooks.save(progress.step, signum is not None or progress.step == settings.max_steps)
    for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
        group["lr"] = rate  # which the schedule multiplies where training goes on
    return signum


def _look(hooks: Hooks, progress: Progress, model: nn.Module) -> None:
    if progress.unlooked:
        with hooks.looking():
            run_pending(hooks.callbacks, progress, model)


def _due_after(step: int, settings: LoopSettings, callbacks: Sequence[Callback]) -> tuple[list[str], bool, bool]:
    """Which callbacks come after this step, whether it is saved, and whether it ends a row of metrics."""
    pending = [callback.name for callback in callbacks if is_due(callback.every_steps, step, settings.max_steps)]
    saving = is_due(settings.save_every_steps, step, settings.max_steps) or step in settings.save_at_steps
    regular = step % settings.log_every_steps == 0 or step == settings.max_steps
    return pending, saving, regular or bool(pending) or saving


def _count_time(progress: Progress, seconds: float, busy_seconds: float) -> None:
    progress.seconds += seconds
    progress.window.count += 1
    progress.window.seconds += seconds
    progress.window.busy_seconds += busy_seconds


@contextmanager
def _progress_bar(accelerator: Accelerator, max_steps: int, start: int) -> Iterator[Show]:
    if not accelerator.is_main_process:
        yield lambda _step, _metrics: None
        return
    with display("Training", max_steps, start) as bar:

        def show(step: int, metrics: Mapping[str, float] | None) -> None:
            bar.update(step, **_figures(metrics or {}))

        yield show


def _figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """What is shown beside the bar: the loss, how fast it goes, and what it is the sum of."""
    terms = {key: key.removeprefix("train/loss_") for key in metrics if key.startswith("train/loss_")}
    named = {"train/loss": "loss", "perf/images_per_second": "images/s", **terms}
    return {name: metrics[key] for key, name in named.items() if key in metrics}


def _any_signal(accelerator: Accelerator, signals: StopSignals, step: int, every_steps: int) -> int | None:
    """The signal that this process, or with several processes any of them, has received."""
    if accelerator.num_processes == 1:
        return signals.received
    if step % every_steps:
        return None  # asking the others costs a synchronisation
    signum = torch.tensor(signals.received or 0, device=accelerator.device)
    highest = int(accelerator.gather(signum[None]).max())
    return highest or None
