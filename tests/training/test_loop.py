import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.errors import UserError
from aaa.training.anomalies import Anomaly
from aaa.training.callbacks import Callback
from aaa.training.ema import EMA, decaying
from aaa.training.loop import Hooks, fit
from aaa.training.lr_schedules import warmup_stable_decay
from aaa.training.measuring import NotFiniteError
from aaa.training.progress import Progress, UnloggedNumbers, Window
from aaa.training.signals import StopSignals
from aaa.training.step import Trainee, step_seed
from tests.helpers.loop_settings import loop_settings

Terms = dict[str, Tensor]

DATA = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def noisy_loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
    noise = torch.randn(batch.latents.shape, generator=generator)
    return {"error": (model(batch.latents + 0.1 * noise) - batch.latents.flip(-1)).square().mean(-1)}


def plain_loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
    return {"error": (model(batch.latents) - batch.latents.flip(-1)).square().mean(-1)}


class Run:
    """A run of the loop on a toy model, with everything it logged."""

    def __init__(
        self,
        loss: Callable[..., Terms] = noisy_loss,
        callbacks: list[Callback] | None = None,
        signals: StopSignals | None = None,
        progress: Progress | None = None,
        of_loss: Sequence[nn.Module] = (),
        saved: list[int] | None = None,
        **changed: Any,
    ) -> None:
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True)
        self.raw = nn.Linear(4, 4)
        self.ema = EMA(self.raw, decaying(0.9))
        optimizer = torch.optim.AdamW(self.raw.parameters(), lr=1e-2)
        self.model, self.optimizer = self.accelerator.prepare(self.raw, optimizer)
        self.progress = progress or Progress()
        self.logged: list[dict[str, float]] = []
        self.told: list[Anomaly] = []
        self.saved: list[int] = [] if saved is None else saved
        trainee = Trainee(
            self.accelerator,
            self.model,
            self.optimizer,
            self.ema,
            loss,
            lambda positions: Batch.of_strangers(DATA[torch.tensor(positions) % 64], DATA[:1]),
            warmup_stable_decay(20, 5, 0.3, 0.0),
            of_loss,
        )
        hooks = Hooks(
            callbacks or [],
            lambda step, _last: self.saved.append(step),
            lambda step, metrics: self.logged.append({"step": step, **metrics}),
            self._report,
        )
        self.signum = fit(trainee, loop_settings(**changed), hooks, self.progress, signals or StopSignals())

    def _report(self, odd: Anomaly) -> str:
        self.told.append(odd)
        return f"{odd.kind} at step {odd.step}, losses {odd.sample_losses}"

    @property
    def losses(self) -> list[float]:
        return [row["train/loss"] for row in self.logged]


def test_the_loss_falls_and_every_step_is_logged_once() -> None:
    run = Run()
    assert [row["step"] for row in run.logged] == list(range(1, 21))
    assert run.losses[-1] < run.losses[0]
    assert run.logged[-1]["samples"] == 160
    assert 0 <= run.logged[-1]["perf/outside_model_share"] <= 1


def test_the_same_seed_gives_the_same_losses_and_another_seed_others() -> None:
    assert Run().losses == Run().losses
    assert Run().losses != Run(seed=1).losses


def test_who_draws_from_torchs_own_generator_draws_by_the_step_too() -> None:
    """As `nn.Dropout` does, and whoever forgets the generator: a resumed run could not go on to the bit."""

    def drawn(progress: Progress | None) -> list[float]:
        draws: list[float] = []

        def forgetful(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
            draws.append(torch.rand(()).item())
            return plain_loss(model, batch, generator, step)

        Run(forgetful, progress=progress)
        return draws

    whole = drawn(None)
    assert len(set(whole)) == 20
    assert drawn(Progress(step=10, samples=80)) == whole[10:]


def test_a_step_is_an_optimizer_update_whatever_the_micro_batches() -> None:
    whole, parts = Run(plain_loss), Run(plain_loss, gradient_accumulation_steps=4)
    assert len(parts.logged) == 20
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    torch.testing.assert_close(parts.raw.weight, whole.raw.weight, atol=1e-5, rtol=1e-4)
    assert [row["train/lr"] for row in parts.logged] == [row["train/lr"] for row in whole.logged]
    assert int(parts.ema.n_averaged) == 20


def test_gradients_are_exchanged_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last micro-batch: those of the model, and of what its loss trains besides."""
    kept: list[nn.Module | str] = []

    def no_sync(_accelerator: Accelerator, model: nn.Module) -> AbstractContextManager[None]:
        kept.append(model)
        return nullcontext()

    monkeypatch.setattr(Accelerator, "no_sync", no_sync)

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
        kept.append("computed")
        return plain_loss(model, batch, generator, step)

    projector = nn.Linear(4, 4)
    run = Run(loss, of_loss=[projector], gradient_accumulation_steps=4, max_steps=2)
    assert kept == ([run.model, projector, "computed"] * 3 + ["computed"]) * 2


def test_each_step_has_the_learning_rate_of_its_number() -> None:
    schedule = warmup_stable_decay(20, 5, 0.3, 0.0)
    assert [row["train/lr"] for row in Run().logged] == [1e-2 * schedule(step) for step in range(20)]


def test_what_is_random_is_other_in_each_micro_batch_of_each_process() -> None:
    seeds: list[int] = []

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
        seeds.append(generator.initial_seed())
        return plain_loss(model, batch, generator, step)

    Run(loss, gradient_accumulation_steps=4, max_steps=3)
    assert len(set(seeds)) == 12
    ranks: list[Any] = [SimpleNamespace(accelerator=SimpleNamespace(process_index=rank)) for rank in range(2)]
    of_ranks = [step_seed(rank, loop_settings(), Progress(step=2), micro) for rank in ranks for micro in range(4)]
    assert of_ranks[:4] == seeds[8:]
    assert len(set(of_ranks)) == 8


def test_what_the_loss_trains_counts_in_the_norm_that_is_clipped() -> None:
    projector = nn.Linear(4, 1)

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
        return {"error": projector(model(batch.latents)).square().mean(-1)}

    (row,) = Run(loss, of_loss=[projector], max_steps=1, max_grad_norm=0).logged
    besides = nn.utils.get_total_norm([p.grad for p in projector.parameters() if p.grad is not None]).item()
    assert besides > 0
    of_all = math.hypot(row["grad_norm/weight"], row["grad_norm/bias"], besides)
    assert row["train/grad_norm"] == pytest.approx(of_all)


def test_a_greatest_norm_of_0_leaves_gradients_as_they_are() -> None:
    assert Run(max_grad_norm=0, max_steps=4).losses == Run(max_grad_norm=1e9, max_steps=4).losses


def test_norms_by_part_are_those_before_clipping() -> None:
    for row in Run(max_grad_norm=0.01, max_steps=4).logged:
        assert row["train/grad_norm"] > 0.01
        assert math.hypot(row["grad_norm/weight"], row["grad_norm/bias"]) == pytest.approx(row["train/grad_norm"])


def test_it_saves_every_so_often_at_further_steps_and_at_the_end() -> None:
    assert Run(save_every_steps=8, save_at_steps=[3, 8, 11]).saved == [3, 8, 11, 16, 20]
    assert Run(save_at_steps=[3]).saved == [3]


def test_logging_rarely_gives_the_mean_of_the_steps_between() -> None:
    every, rarely = Run(), Run(log_every_steps=10)
    assert len(rarely.logged) == 2
    assert rarely.losses == pytest.approx([sum(every.losses[:10]) / 10, sum(every.losses[10:]) / 10])


def two_terms(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
    error = plain_loss(model, batch, generator, step)["error"]
    return {"error": error, "size": 0.1 * model(batch.latents).square().mean(-1)}


def test_terms_of_the_loss_are_summed_and_each_is_logged() -> None:
    run = Run(two_terms, gradient_accumulation_steps=2)
    for row in run.logged:
        assert row["train/loss"] == pytest.approx(row["train/loss_error"] + row["train/loss_size"])
    assert "train/loss_error" not in Run().logged[0], "a loss of one term is that term"


def test_terms_that_are_not_logged_yet_go_with_a_checkpoint() -> None:
    numbers = UnloggedNumbers([1, 2], [3.0, 5.0], [1.0, 1.0], count=2, terms={"error": [2.0, 3.0], "size": [1.0, 2.0]})
    progress = Progress(step=2, samples=16)
    progress.window = Window.of(numbers, torch.device("cpu"))
    told = progress.window.numbers()
    progress.window.steps.append(3)  # while the checkpoint is written
    assert told == numbers
    progress.window.steps.pop()
    row = Run(two_terms, progress=progress, max_steps=3, log_every_steps=10).logged[0]
    alone = Run(two_terms, progress=Progress(step=2, samples=16), max_steps=3, log_every_steps=10).logged[0]
    assert row["train/loss_size"] == pytest.approx((1.0 + 2.0 + alone["train/loss_size"]) / 3)


def test_watching_a_run_does_not_change_it() -> None:
    def look(step: int) -> None:
        torch.randn(100)  # global randomness, as sampling code that is careless would use it

    assert Run(callbacks=[Callback("look", 3, look)]).losses == Run().losses


def test_callbacks_come_when_due_and_at_the_end() -> None:
    seen: list[tuple[str, int]] = []
    Run(
        callbacks=[
            Callback("a", 7, lambda step: seen.append(("a", step))),
            Callback("never", 0, lambda step: seen.append(("never", step))),
            Callback("b", 20, lambda step: seen.append(("b", step))),
        ]
    )
    assert seen == [("a", 7), ("a", 14), ("a", 20), ("b", 20)]


def test_what_is_trained_again_starts_from_the_same_learning_rate() -> None:
    run = Run()
    assert run.logged[-1]["train/lr"] < 1e-2 / 5
    assert run.optimizer.param_groups[0]["lr"] == 1e-2


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer.batch_size=8 must be a multiple of 1 processes x .*=3"):
        Run(gradient_accumulation_steps=3)


def broken_at(*steps: int) -> Callable[..., Terms]:
    """A loss that is NaN for the third sample of these steps."""
    count = [0]

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
        count[0] += 1
        factor = torch.ones(len(batch.latents))
        if count[0] in steps:
            factor[2] = float("nan")
        return {"error": plain_loss(model, batch, generator, step)["error"] * factor}

    return loss


def test_nan_stops_the_run_before_anything_is_saved_and_names_its_sample() -> None:
    saved: list[int] = []
    with pytest.raises(NotFiniteError, match=r"not finite at step 6, losses \[\[\d\.\d+, \d\.\d+, nan, ") as raised:
        Run(broken_at(6), callbacks=[Callback("look", 5, saved.append)], log_every_steps=100)
    assert "trainer.on_nonfinite=skip" in str(raised.value)
    assert saved == [5]


def test_steps_that_are_not_finite_can_be_left_out() -> None:
    run = Run(broken_at(3, 4), on_nonfinite="skip", max_skipped_steps=2)
    assert [(odd.kind, odd.step) for odd in run.told] == [("skipped", 3), ("skipped", 4)]
    assert all(parameter.isfinite().all() for parameter in run.raw.parameters())
    assert [row["step"] for row in run.logged if "train/loss" not in row] == [3, 4]
    assert run.logged[-1]["train/skipped_steps"] == 2
    assert int(run.ema.n_averaged) == 18
    with pytest.raises(NotFiniteError, match=r"No more than trainer\.max_skipped_steps=1 steps"):
        Run(broken_at(3, 4), on_nonfinite="skip", max_skipped_steps=1)


def test_a_loss_that_stands_out_is_told_with_the_losses_of_its_samples() -> None:
    count = [0]

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
        count[0] += 1
        error = plain_loss(model, batch, generator, step)["error"]
        return {"error": error * (100 if count[0] == 60 else 1)}

    run = Run(loss, max_steps=70, log_every_steps=7)
    assert [(odd.kind, odd.step, len(odd.sample_losses[0])) for odd in run.told] == [("spike", 60, 8)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_saves(number: signal.Signals) -> None:
    looked: list[int] = []
    before = signal.getsignal(number)
    run = Run(killing(number, 3), callbacks=[Callback("look", 50, looked.append)], log_every_steps=10)
    assert run.signum == number
    assert run.progress.step == 3
    assert run.saved == [3]
    assert looked == []
    assert run.logged == []
    assert signal.getsignal(number) is before


def killing(number: signal.Signals, at: int) -> Callable[..., Terms]:
    count = [0]

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator, step: int) -> Terms:
        count[0] += 1
        if count[0] == at:
            os.kill(os.getpid(), number)
        return plain_loss(model, batch, generator, step)

    return loss


def test_what_was_measured_before_a_signal_is_logged_by_the_run_that_goes_on() -> None:
    whole = Run(plain_loss, log_every_steps=10)
    first = Run(killing(signal.SIGTERM, 7), log_every_steps=10)
    numbers = first.progress.window.numbers()
    progress = Progress(step=7, seconds=first.progress.seconds)
    progress.window = Window.of(numbers, torch.device("cpu"))
    assert len(progress.window.losses) == 7
    assert progress.window.numbers() == numbers
    mean_of_seven = sum(loss.item() for loss in progress.window.losses) / 7
    assert mean_of_seven == pytest.approx(sum(Run(plain_loss, max_steps=7).losses) / 7)
    assert whole.logged[0]["step"] == 10


def test_a_look_is_left_when_a_signal_comes_and_done_by_the_run_that_goes_on() -> None:
    signals = StopSignals()
    seen: list[str] = []

    def short(step: int) -> None:
        seen.append(f"short {step}")

    def long(step: int) -> None:
        with signals.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("too late")

    run = Run(
        callbacks=[Callback("short", 5, short), Callback("long", 5, long), Callback("last", 5, short)], signals=signals
    )
    assert (run.signum, run.progress.step, run.saved, seen) == (signal.SIGTERM, 5, [5], ["short 5"])
    assert run.progress.unlooked == ["long", "last"]
    again = Run(
        callbacks=[Callback("short", 5, short), Callback("long", 5, lambda step: seen.append(f"long {step}"))],
        progress=Progress(step=5, unlooked=["long"]),
        max_steps=6,
    )
    assert again.signum is None
    assert seen == ["short 5", "long 5", "short 6", "long 6"]
    assert again.saved == [5], "who goes on after that has nothing left to look at"
    over = Run(callbacks=[Callback("long", 5, long)], progress=Progress(step=20, unlooked=["long"]), signals=signals)
    assert (over.signum, over.saved) == (signal.SIGTERM, []), "it is still to be done"


def test_what_a_look_does_wrong_costs_no_step() -> None:
    saved: list[int] = []

    def wrong(_step: int) -> None:
        raise ZeroDivisionError

    progress = Progress()
    with pytest.raises(ZeroDivisionError):
        Run(callbacks=[Callback("wrong", 5, wrong)], progress=progress, saved=saved)
    assert (saved, progress.step, progress.unlooked) == ([5], 5, ["wrong"])


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = """if True:
        import os, signal, sys, time
        from aaa.training.signals import StopSignals
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received == signal.SIGTERM
            os.kill(os.getpid(), signal.SIGINT)
        sys.exit(7)
    """
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 128 + signal.SIGINT
