"""What a run measures of its steps: kept on the device, read back now and then, and looked at for anomalies."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from aaa.errors import UserError
from aaa.training.anomalies import Anomaly, Spikes
from aaa.training.memory import peak_memory_gib
from aaa.training.progress import Progress, Window
from aaa.training.settings import LoopSettings
from aaa.training.step import StepResult


class NotFiniteError(UserError):
    """The loss or the gradient became NaN or infinite."""


class Measuring:
    """Takes in each step, and gives a row of metrics where one is due.

    Args:
        accelerator: reduces over processes.
        settings: of the run.
        report: makes a step that went wrong or stands out known, and describes it; called by every process.
    """

    def __init__(self, accelerator: Accelerator, settings: LoopSettings, report: Callable[[Anomaly], str]) -> None:
        self.accelerator, self.settings, self.report = accelerator, settings, report
        self._spikes = Spikes()

    def take_in(self, step: StepResult, progress: Progress) -> None:
        """Count a step that was taken or left out.

        Raises:
            NotFiniteError: if more steps were left out than may be.
        """
        progress.step += 1
        progress.samples += self.settings.batch_size
        window = progress.window
        if step.taken:
            window.steps.append(progress.step)
            window.losses.append(step.loss)
            window.grad_norms.append(step.grad_norm)
            window.sample_losses.append(step.sample_losses)
            for name, term in step.terms.items():
                window.terms.setdefault(name, []).append(term)
            return
        progress.skipped_steps += 1
        loss: Tensor = self.accelerator.reduce(step.loss, reduction="mean")
        skipped = Anomaly("skipped", progress.step, loss.item(), step.grad_norm.item(), [])
        described = self._describe(skipped, step.sample_losses)
        if progress.skipped_steps > self.settings.max_skipped_steps:
            raise NotFiniteError(
                f"{described}\nNo more than trainer.max_skipped_steps={self.settings.max_skipped_steps} steps may be "
                "left out. A checkpoint that was written before is good."
            )

    def means(self, window: Window) -> dict[str, float]:
        """`train/loss`, `train/grad_norm` and terms of the loss, over the window's steps and all processes.

        Losses are kept on the device until here: reading one makes the CPU wait for the GPU.

        Raises:
            NotFiniteError: if a loss or gradient norm is NaN or infinite.
        """
        steps = self.read_back(window)
        for step, sample_losses in zip(steps, window.sample_losses, strict=True):
            if self._spikes.is_spike(step.loss):
                self._describe(step, sample_losses)
        if not steps:  # all were skipped
            return {}
        terms = {f"train/loss_{name}": torch.stack(values).mean().item() for name, values in window.terms.items()}
        return {
            "train/loss": sum(step.loss for step in steps) / len(steps),
            "train/grad_norm": sum(step.grad_norm for step in steps) / len(steps),
        } | terms

    def read_back(self, window: Window) -> Sequence[Anomaly]:
        """The window's steps, each as the spike that it may be; its losses and terms are means over processes then.

        Raises:
            NotFiniteError: if a loss or gradient norm is NaN or infinite.
        """
        if not window.losses:
            return []
        losses: Tensor = self.accelerator.reduce(torch.stack(window.losses), reduction="mean")
        window.losses = list(losses)
        for name, values in window.terms.items():
            terms: Tensor = self.accelerator.reduce(torch.stack(values), reduction="mean")
            window.terms[name] = list(terms)
        norms = torch.stack(window.grad_norms).tolist()
        steps = [Anomaly("spike", *numbers, []) for numbers in zip(window.steps, losses.tolist(), norms, strict=True)]
        for number, step in enumerate(steps):
            if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
                described = self._describe(replace(step, kind="not finite"), window.sample_losses[number])
                raise NotFiniteError(
                    f"{described}\nNothing was saved since: a checkpoint that is there is good. A lower "
                    "optimizer.learning_rate, a longer warm-up or trainer.precision=float32 may help; "
                    "trainer.on_nonfinite=skip leaves such steps out."
                )
        return steps

    def standing(self, progress: Progress, rates: Mapping[str, float]) -> dict[str, float]:
        """The part of a row of metrics that says how far and how fast the run is, with its learning rates by name."""
        window, batch_size, device = progress.window, self.settings.batch_size, self.accelerator.device
        metrics = {
            "samples": progress.samples,
            "seconds": round(progress.seconds, 3),
            **rates,
            "perf/images_per_second": window.count * batch_size / window.seconds,
            "perf/step_seconds": window.seconds / window.count,
            "perf/peak_memory_gib": peak_memory_gib(device, recorded=bool(self.settings.cuda_graph)),
        }
        if progress.skipped_steps:
            metrics["train/skipped_steps"] = progress.skipped_steps
        if device.type == "cpu":  # on a GPU these calls return before the work is done
            metrics["perf/outside_model_share"] = 1 - window.busy_seconds / window.seconds
        return metrics

    def _describe(self, step: Anomaly, sample_losses: Tensor) -> str:
        """Make an anomaly known, with the losses of its samples from all processes."""
        gathered: Tensor = self.accelerator.gather(sample_losses)
        by_process = gathered.view(self.accelerator.num_processes, -1).tolist() if len(gathered) else []
        return self.report(replace(step, sample_losses=by_process))
