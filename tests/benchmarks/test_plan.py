from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from rich.console import Console

from aaa.benchmarks import plan
from aaa.benchmarks.plan import Plan, Planner, as_table, notes
from aaa.benchmarks.subject import Subject, foreseen_subject, make_subject
from aaa.diffusion.schedulers import LinearScheduler, LogitNormalScheduler, NoiseLevels
from aaa.training import fitting
from aaa.training.ema import EMA
from aaa.training.optimizers import state_to_come
from tests.helpers.composed import compose

SMALL = ("model.dim=16", "model.depth=2", "model.heads=2", "trainer.batch_size=2", "data.resolution=16")


def planned(planner: Planner, *overrides: str) -> plan.Plan:
    return planner.plan(compose(*SMALL, *overrides), overrides)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured, a line each."""
    made: list[str] = []
    make = plan.make_subject

    def counted(config: DictConfig, *args: Any, **kwargs: Any) -> Subject:
        made.append(f"{config.model.dim} at {config.data.resolution}")
        return make(config, *args, **kwargs)

    monkeypatch.setattr(plan, "make_subject", counted)
    return made


@pytest.mark.slow
def test_what_changes_the_cost_of_a_step_is_measured_again(measured: list[str]) -> None:
    planner = Planner()
    small, large = planned(planner), planned(planner, "data.resolution=64")
    assert large.flops > 3 * small.flops
    planned(planner, "trainer.gradient_checkpointing=true")
    assert len(measured) == 3


def test_runs_that_differ_in_what_costs_nothing_share_a_measurement(measured: list[str]) -> None:
    planner = Planner()
    for overrides in (
        ["seed=1"],
        ["optimizer.learning_rate=1e-4", "name=other"],
        ["trainer.max_steps=7", "sampling.guidance=3", "lr_scheduler=constant", "logger=none"],
    ):
        assert not planned(planner, *overrides).problem
    assert len(measured) == 1
    planned(planner, "optimizer=adamw")
    assert len(measured) == 2


def test_a_step_of_micro_batches_updates_the_weights_once(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def once(step: Callable[[], object], _device: torch.device) -> float:
        seen.clear()  # what measuring the memory took
        step()
        return 1.0

    draw, average = LogitNormalScheduler.draw, EMA.update_parameters

    def drawn(scheduler: LogitNormalScheduler, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        seen.append(f"{batch_size} samples")
        return draw(scheduler, batch_size, generator)

    def averaged(ema: EMA, model: torch.nn.Module) -> None:
        seen.append("average")
        average(ema, model)

    monkeypatch.setattr(plan, "seconds_of", once)
    monkeypatch.setattr(LogitNormalScheduler, "draw", drawn)
    monkeypatch.setattr(EMA, "update_parameters", averaged)
    parts = ("trainer.batch_size=6", "trainer.gradient_accumulation_steps=3")
    told = planned(Planner(), *parts, "trainer.max_steps=7", "trainer.ema_decay=0.9")
    assert len(measured) == 1
    assert seen == ["2 samples"] * 3 + ["average"]
    assert told.seconds == 7
    assert "must be a multiple of" in planned(Planner(), *parts, "trainer.batch_size=4").problem


@pytest.mark.parametrize("room", [True, False])
def test_of_auto_the_batch_that_fits_here_is_planned(monkeypatch: pytest.MonkeyPatch, *, room: bool) -> None:
    monkeypatch.setattr(plan, "MOST_SECONDS", 0.0)
    if not room:
        monkeypatch.setattr(fitting, "available_memory", lambda _: 1000)
    parts = ("trainer.batch_size=auto", "trainer.gradient_accumulation_steps=3")
    told = planned(Planner(), *parts, "trainer.max_steps=7")
    assert not told.problem
    assert told.fitting == 3 * (fitting.MOST_SAMPLES if room else 1)
    assert (told.dim, told.steps, told.samples) == (16, 7, 7 * told.fitting)
    assert min(told.parameters, *told.rates.values()) > 0
    assert f"#0 trainer.batch_size=auto: planned with {told.fitting}; fewer where there are fewer records" in notes(
        [told]
    )
    assert ("Not even one sample fits" in told.untimed) != room


@pytest.mark.slow
def test_it_says_the_rate_of_each_group_of_parameters() -> None:
    planner = Planner()
    wider = (
        "model.dim=32",
        "model.heads=4",
        "model.base_dim=16",
        "model.base_heads=2",
        "model.base_depth=1",
        "model.parametrization=mup",
    )
    assert planned(planner).rates == {"all": 5e-3}
    rates = planned(planner, *wider, "optimizer.learning_rate=1e-2").rates
    assert rates["adamw_base"] == 1e-2
    assert rates["muon_hidden"] == pytest.approx(1e-2 / 2**0.5)
    assert rates["muon_hidden_to_stream"] == pytest.approx(1e-2 / 2**1.5)
    larger = planned(planner, "trainer.base_batch_size=2", "trainer.batch_size=8").rates
    assert larger == pytest.approx({"all": 1e-2})


def test_a_run_of_so_many_seconds_has_the_steps_that_fit() -> None:
    planner = Planner()
    told = planned(planner, "budget.seconds=2")
    assert not told.problem
    assert told.steps > 1
    assert told.seconds <= 2 < (told.steps + 1) * told.seconds / told.steps
    assert "not enough for a single step" in planned(planner, "budget.seconds=1e-9").problem


def test_what_evaluation_adds_is_told_where_it_is_more_than_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "seconds_of", lambda _step, _device: 1.0)
    planner = Planner()
    long = ("trainer.max_steps=1000", "trainer.batch_size=32", "sampling.steps=10")
    often = (*long, "evaluation=latent_distance", "trainer.evaluate_every_steps=300")  # and after the last step
    plans = [
        planned(planner, *long, "evaluation=none", "trainer.evaluate_every_steps=1"),
        planned(planner, *long, "evaluation.num_images=8"),
        *(planned(planner, *often, f"seed={seed}") for seed in (0, 1)),
        planned(planner, *long),
    ]
    passes = 19  # two for each level but the last, which is below the guidance's interval
    once = 256 * passes / (3 * 1000 * 32)
    for_each = "for each 256 pictures drawn (evaluation.num_images)"
    assert list(notes([replace(told, number=number) for number, told in enumerate(plans)])) == [
        f"#2, #3 judged 4 times, which adds about {4 * once:.0%} {for_each}",
        f"#4 judged once, which adds about {once:.0%} {for_each}",
    ]


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "soap"])
def test_a_step_is_foreseen_as_it_is(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "held_memory", lambda _: 0)  # by this process, whatever it did before
    config = compose(*SMALL, f"optimizer={optimizer}", "objective=clean_aligned")
    with foreseen_subject(config, "cpu") as subject:
        foreseen = subject.footprint()
    real = make_subject(config, "cpu", precision=config.trainer.precision, compiled=False)
    try:
        assert foreseen == real.footprint()
        assert foreseen.fixed > state_to_come(real.optimizer) > 0
        assert (subject.flops, subject.tokens) == (real.flops, real.tokens)
    finally:
        real.close()


def test_what_would_take_long_or_does_not_fit_is_told_and_not_done(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    huge = planned(Planner(said.append), "trainer.batch_size=100000000")
    assert "trainer.batch_size=100000000 does not fit" in huge.untimed
    monkeypatch.setattr(plan, "MOST_SECONDS", 0.0)
    slow = planned(Planner(said.append), "budget.seconds=1e6")
    assert "a step would take 0 s or more" in slow.untimed
    for told in (huge, slow):
        assert not told.problem
        assert min(told.parameters, told.steps, told.flops, told.memory_gib, told.seconds) > 0
    assert not measured
    assert not said


def test_a_part_of_ones_own_that_asks_for_numbers_is_timed_all_the_same(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asking(scheduler: LinearScheduler, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        sigma = LinearScheduler.draw(scheduler, batch_size, generator).sigma
        assert sigma.min().item() >= 0
        return NoiseLevels(sigma, 1000 * sigma, torch.ones_like(sigma))

    monkeypatch.setattr(LogitNormalScheduler, "draw", asking)
    said: list[str] = []
    told = planned(Planner(said.append))
    assert not told.problem + told.untimed
    assert len(measured) == 1
    assert said == ["Timing a step of #0 ..."]


def test_a_narrow_terminal_has_whole_numbers_and_reasons_below() -> None:
    plans = [
        Plan(["model=dit_tiny"], 128, 5, 1_113_664, 1200, 38_400, 6.25e12, 0.8, 102.0, {"all": 5e-3}),
        Plan(
            ["model=dit_1b"],
            2048,
            20,
            1_013_352_640,
            seconds=1e5,
            rates={"a": 1e-3, "b": 5e-3},
            untimed="no room",
            number=1,
        ),
        Plan(["model.heads=7"], problem="seven do not fit", number=2),
    ]
    console = Console(width=64, file=StringIO())
    with console.capture() as shown:
        console.print(as_table(plans, console.width))
    assert "1,013,352,640" in shown.get()
    assert "no room for: " in shown.get()
    assert list(notes(plans)) == [
        "#1 not timed: no room",
        "#1 learning rates: a 0.001, b 0.005",
        "#2 cannot run: seven do not fit",
    ]


def test_prompts_that_are_embedded_while_training_are_told_to_come_on_top() -> None:
    (note,) = notes([Plan(["a"], rates={"all": 1.0}, embeds=True, number=1), Plan(["b"], rates={"all": 1.0})])
    assert note.startswith("#1 encoder.cache_prompts=false: time and FLOPs of the text encoder")
