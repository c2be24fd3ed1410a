import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from aaa.errors import UserError
from aaa.training.ema import EMA
from aaa.training.loop import NotFiniteError, Progress, Watch, train_steps
from aaa.training.lr_schedules import warmup_stable_decay

DATA = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def noisy_loss(model: nn.Module, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(latents.shape, generator=generator)
    return (model(latents + 0.1 * noise) - latents.flip(-1)).square().mean(-1)


def plain_loss(model: nn.Module, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator) -> Tensor:
    return (model(latents) - latents.flip(-1)).square().mean(-1)


class Run:
    """A run of the loop on a toy model, with everything it logged."""

    def __init__(
        self, loss: Callable[..., Tensor] = noisy_loss, watches: list[Watch] | None = None, **changed: Any
    ) -> None:
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True)
        self.raw = nn.Linear(4, 4)
        self.ema = EMA(self.raw, 0.9)
        optimizer = torch.optim.AdamW(self.raw.parameters(), lr=1e-2)
        self.model, self.optimizer = self.accelerator.prepare(self.raw, optimizer)
        self.progress = Progress()
        self.logged: list[dict[str, float]] = []
        numbers: dict[str, Any] = {
            "seed": 0,
            "max_steps": 20,
            "batch_size": 8,
            "gradient_accumulation_steps": 1,
            "max_grad_norm": 1.0,
            "log_every_steps": 1,
        }
        self.signum = train_steps(
            self.accelerator,
            self.model,
            self.optimizer,
            self.ema,
            loss,
            lambda positions: (DATA[torch.tensor(positions) % 64], DATA[:1]),
            warmup_stable_decay(20, 5, 0.3, 0.0),
            watches or [],
            lambda step, metrics: self.logged.append({"step": step, **metrics}),
            self.progress,
            **(numbers | changed),
        )

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


def test_a_step_is_an_optimizer_update_whatever_the_micro_batches() -> None:
    whole, parts = Run(plain_loss), Run(plain_loss, gradient_accumulation_steps=4)
    assert len(parts.logged) == 20
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    torch.testing.assert_close(parts.raw.weight, whole.raw.weight, atol=1e-5, rtol=1e-4)
    assert [row["train/lr"] for row in parts.logged] == [row["train/lr"] for row in whole.logged]
    assert int(parts.ema.n_averaged) == 20


def test_logging_rarely_gives_the_mean_of_the_steps_between() -> None:
    every, rarely = Run(), Run(log_every_steps=10)
    assert len(rarely.logged) == 2
    assert rarely.losses == pytest.approx([sum(every.losses[:10]) / 10, sum(every.losses[10:]) / 10])


def test_watching_a_run_does_not_change_it() -> None:
    def look(step: int) -> None:
        torch.randn(100)  # global randomness, as sampling code that is careless would use it

    assert Run(watches=[Watch(3, look)]).losses == Run().losses


def test_watches_come_when_due_and_at_the_end() -> None:
    seen: list[tuple[str, int]] = []
    Run(
        watches=[
            Watch(7, lambda step: seen.append(("a", step))),
            Watch(0, lambda step: seen.append(("never", step))),
            Watch(20, lambda step: seen.append(("b", step))),
        ]
    )
    assert seen == [("a", 7), ("a", 14), ("a", 20), ("b", 20)]


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer.batch_size=8 must be a multiple of 1 processes x .*=3"):
        Run(gradient_accumulation_steps=3)


def test_nan_stops_the_run_before_anything_is_saved() -> None:
    saved: list[int] = []

    def loss(model: nn.Module, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator) -> Tensor:
        value = plain_loss(model, latents, prompt_embeds, generator)
        return value * float("nan") if len(saved) == 1 else value

    with pytest.raises(NotFiniteError, match=r"The loss became nan .* at step 6"):
        Run(loss, watches=[Watch(5, saved.append)], log_every_steps=100)
    assert saved == [5]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_saves(number: signal.Signals) -> None:
    saved: list[int] = []
    looked: list[int] = []

    def loss(model: nn.Module, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator) -> Tensor:
        if len(looked) == 0 and not saved and run_steps() == 3:
            os.kill(os.getpid(), number)
        return plain_loss(model, latents, prompt_embeds, generator)

    steps = [0]

    def run_steps() -> int:
        steps[0] += 1
        return steps[0]

    before = signal.getsignal(number)
    run = Run(loss, watches=[Watch(50, saved.append, when_stopped=True), Watch(50, looked.append)])
    assert run.signum == number
    assert run.progress.step == 3
    assert saved == [3]
    assert looked == []
    assert signal.getsignal(number) is before
