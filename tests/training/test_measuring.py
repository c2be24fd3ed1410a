"""Numbers of several processes, of which this is one."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from aaa.training.anomalies import Anomaly
from aaa.training.measuring import Measuring
from aaa.training.progress import Progress
from aaa.training.step import StepResult
from tests.helpers.loop_settings import loop_settings


class BesideAnother(Accelerator):
    """One of two processes, whose partner has three times its numbers."""

    def reduce(self, tensor: Tensor, reduction: str = "mean", **_: Any) -> Tensor:
        assert reduction == "mean"
        return 2 * tensor


def measuring(told: list[Anomaly]) -> Measuring:
    def report(odd: Anomaly) -> str:
        told.append(odd)
        return odd.kind

    settings = loop_settings(batch_size=4, on_nonfinite="skip", max_skipped_steps=3)
    return Measuring(BesideAnother(cpu=True), settings, report)


def step(loss: float, *, taken: bool = True) -> StepResult:
    terms = {"velocity": torch.tensor(0.75 * loss), "align": torch.tensor(0.25 * loss)}
    return StepResult(torch.tensor(loss), terms, torch.full((2,), loss), torch.tensor(1.0), {}, taken, 0.0)


def test_terms_sum_to_the_loss_over_all_processes_before_and_after_a_signal() -> None:
    uninterrupted, progress = measuring([]), Progress()
    for loss in (1.0, 3.0):
        uninterrupted.take_in(step(loss), progress)
    expected = {"train/loss": 4.0, "train/grad_norm": 1.0, "train/loss_velocity": 3.0, "train/loss_align": 1.0}
    assert uninterrupted.means(progress.window) == expected
    assert progress.samples == 2 * 4, "those of all processes"

    stopped, progress = measuring([]), Progress()
    for loss in (1.0, 3.0):
        stopped.take_in(step(loss), progress)
    stopped.read_back(progress.window)
    saved = progress.window.numbers()
    assert saved.losses == [2.0, 6.0]
    assert saved.terms == {"velocity": [1.5, 4.5], "align": [0.5, 1.5]}


def test_a_step_that_is_left_out_is_told_with_the_loss_of_all_processes() -> None:
    told: list[Anomaly] = []
    measuring(told).take_in(step(0.5, taken=False), Progress())
    assert [(odd.kind, odd.loss) for odd in told] == [("skipped", 1.0)]


def test_steps_that_are_left_out_take_time_and_samples_too() -> None:
    of, progress = measuring([]), Progress()
    for loss in (1.0, 2.0, 3.0):
        of.take_in(step(loss, taken=loss != 2.0), progress)
    progress.window.count, progress.window.seconds, progress.window.busy_seconds = 3, 6.0, 4.5
    standing = of.standing(progress, {"train/lr": 0.1})
    assert standing["samples"] == 12
    assert (standing["perf/images_per_second"], standing["perf/step_seconds"]) == (2.0, 2.0)
    assert (standing["train/skipped_steps"], standing["perf/outside_model_share"]) == (1, 0.25)
