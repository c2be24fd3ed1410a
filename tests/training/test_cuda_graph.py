"""Recorded steps beside the same ones taken as they are; graphs by `OpRecorder`, tests/gpu has CUDA's."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.config.checks import check_config
from aaa.config.cuda_graph import may_record
from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LogitNormalScheduler
from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.objectives.align import Align
from aaa.objectives.contrastive import Contrastive
from aaa.objectives.cuda_graph import why_unrecordable
from aaa.objectives.flow_matching import FlowMatching
from aaa.objectives.terms import Term
from aaa.run import session
from aaa.training.cuda_graph import RecordedSteps
from aaa.training.ema import EMA, decaying
from aaa.training.lr_schedules import warmup_stable_decay
from aaa.training.optimizers import MuonWithAdamW, adamw
from aaa.training.progress import Progress
from aaa.training.settings import LoopSettings
from aaa.training.step import Loss, StepResult, Trainee, take_step
from tests.helpers.composed import compose
from tests.helpers.op_recorder import OpRecorder

STEPS, BATCH = 9, 6
SETTINGS = LoopSettings(
    seed=3,
    max_steps=STEPS,
    batch_size=BATCH,
    gradient_accumulation_steps=1,
    max_grad_norm=1.0,
    log_every_steps=4,
    save_every_steps=0,
    cuda_graph=True,
)
RATES = [1e-2, 3e-3]


def batches(positions: range) -> Batch:
    """Prompts of two lengths."""
    draws = generator("batch", positions.start)
    words = 3 + positions.start // BATCH % 2
    latents, embeds = (torch.randn(len(positions), *shape, generator=draws) for shape in ((4, 4, 4), (words, 8)))
    return Batch.of_strangers(latents, embeds)


def muon(named: list[tuple[str, nn.Parameter]]) -> Optimizer:
    return MuonWithAdamW(named, RATES[0], 0.1, 0.95, (0.9, 0.99), adamw_learning_rate=RATES[1])


def only_adamw(named: list[tuple[str, nn.Parameter]]) -> Optimizer:
    return adamw(named, RATES[0], 0.1, (0.9, 0.99))


def align(**changed: Any) -> Align:
    return Align(0.5, 1, "latents", "conv", "cosine", True, **{"dim": 32, "latent_channels": 4} | changed)


class Training:
    """A small model by the loop's own steps, recorded or not."""

    def __init__(
        self,
        make_optimizer: Callable[..., Optimizer] = muon,
        loss: Loss | None = None,
        terms: Mapping[str, Term] | None = None,
        **changed: Any,
    ) -> None:
        torch.manual_seed(0)
        self.model = build_dit(dim=32, depth=2, heads=2, in_channels=4, text_dim=8, init="torch", position_grid=4)
        terms = {"align": align()} if terms is None else terms
        empty = torch.zeros(1, 8)
        self.objective = FlowMatching(LogitNormalScheduler(), empty, 0.3, VelocityPrediction(), terms=terms)
        self.modules = list(self.objective.modules.values())
        named = [*self.model.named_parameters(), *nn.ModuleList(self.modules).named_parameters()]
        self.optimizer = make_optimizer(named)
        self.ema, self.start = EMA(self.model, decaying(0.9)), deepcopy(self.model)
        self.settings, self.progress = replace(SETTINGS, **changed), Progress()
        self.trainee = Trainee(
            Accelerator(cpu=True),
            self.model,
            self.optimizer,
            self.ema,
            self.objective if loss is None else loss,
            batches,
            warmup_stable_decay(2 * STEPS, 4, 0.3, 0.1),
            self.modules,
            why_unrecordable(self.objective, self.model),
        )
        self.recorder = OpRecorder(self.state)

    def moved(self) -> Tensor:
        """How far the average of the weights is from where they began."""
        began = self.start.parameters()
        return torch.cat([(a - b).detach().flatten() for a, b in zip(self.ema.module.parameters(), began, strict=True)])

    def state(self) -> list[Tensor]:
        held = [tensor for state in self._states() for tensor in state.values() if isinstance(tensor, Tensor)]
        return [*self.trainee.parameters, *self.ema.module.parameters(), *held]

    def _states(self) -> list[Mapping[str, Any]]:
        optimizers = getattr(self.optimizer, "optimizers", (self.optimizer,))
        return [state for optimizer in optimizers for state in optimizer.state.values()]

    def take(self, steps: int, *, recorded: bool) -> list[StepResult]:
        taken = []
        rates = RATES[: len(self.optimizer.param_groups)]
        by_graph = RecordedSteps(self.trainee, self.settings, self.recorder) if recorded else None
        for _ in range(steps):
            look = self.progress.step % 4 == 3
            if by_graph is None:
                taken.append(take_step(self.trainee, self.settings, self.progress, rates, measure_norms=look))
            else:
                taken.append(by_graph.take(self.progress, rates, measure_norms=look))
            self.progress.step += 1
            self.progress.samples += BATCH
        return taken


def numbers(step: StepResult) -> list[float]:
    return torch.stack([step.loss, step.grad_norm, *step.terms.values(), *step.norms.values()]).tolist()


@pytest.mark.parametrize("make_optimizer", [muon, only_adamw])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_recorded_steps_are_the_steps(make_optimizer: Callable[..., Optimizer], micro_batches: int) -> None:
    """Samples, noise, rates and the average's share are those of each step: a graph knows only where they lie."""
    plain, recorded = (Training(make_optimizer, gradient_accumulation_steps=micro_batches) for _ in range(2))
    expected, found = plain.take(2 * STEPS, recorded=False), recorded.take(2 * STEPS, recorded=True)
    assert recorded.recorder.recorded >= 3  # two lengths of prompts, with norms and without
    for one, other in zip(expected, found, strict=True):
        assert numbers(other) == pytest.approx(numbers(one), rel=2e-3)
        assert torch.allclose(other.sample_losses, one.sample_losses, rtol=2e-3)
        assert set(other.norms) == set(one.norms)
    apart = (recorded.moved() - plain.moved()).norm() / plain.moved().norm()
    assert apart < (0.05 if make_optimizer is muon else 1e-3)  # Muon's matrices are bf16, and made of signs
    assert int(recorded.ema.n_averaged) == 2 * STEPS
    assert [group["lr"] for group in recorded.optimizer.param_groups] == [
        group["lr"] for group in plain.optimizer.param_groups
    ]
    assert len({loss.loss.item() for loss in found}) == 2 * STEPS


def test_a_run_that_is_stopped_and_resumed_takes_the_same_steps_to_the_bit() -> None:
    """What is recorded when is another thing after the stop."""
    whole, halves = Training(), Training()
    expected = whole.take(STEPS, recorded=True)
    found = [*halves.take(5, recorded=True), *halves.take(STEPS - 5, recorded=True)]
    assert [numbers(step) for step in found] == [numbers(step) for step in expected]
    for tensor, other in zip(whole.state(), halves.state(), strict=True):
        assert torch.equal(tensor, other)


def looking(model: nn.Module, batch: Batch, draws: torch.Generator, step: int) -> Mapping[str, Tensor]:
    """A loss that looks at a number midway."""
    error = (model(batch.latents, batch.prompt_embeds, torch.ones(1)) - batch.latents).square().mean((1, 2, 3))
    return {"error": error / error.detach().max().item()}


def test_a_loss_that_looks_at_a_number_midway_is_refused_when_it_is_recorded() -> None:
    training = Training(loss=looking, terms={})
    with pytest.raises(UserError, match=r"trainer.cuda_graph=true: a step cannot be recorded \(operation not"):
        training.take(3, recorded=True)


def test_what_cannot_be_recorded_is_taken_as_it_is_where_nobody_insists(caplog: pytest.LogCaptureFixture) -> None:
    """The same steps, the one that failed included, and one warning."""

    plain, recorded = (Training(loss=looking, terms={}, cuda_graph="auto") for _ in range(2))
    expected, found = plain.take(STEPS, recorded=False), recorded.take(STEPS, recorded=True)
    for one, other in zip(expected, found, strict=True):
        assert numbers(other) == pytest.approx(numbers(one), rel=2e-3)
    assert (recorded.moved() - plain.moved()).norm() < 0.05 * plain.moved().norm()
    assert caplog.text.count("Steps are taken as they are from here on: recording one failed (") == 1


def test_steps_are_kept_for_a_longer_run_of_the_same_alone() -> None:
    training, other = Training(), Training()
    steps = RecordedSteps(training.trainee, training.settings, training.recorder)
    assert steps.takes(training.trainee, replace(training.settings, max_steps=99))
    assert not steps.takes(training.trainee, replace(training.settings, batch_size=3))
    assert not steps.takes(other.trainee, training.settings)


class Inherited(Align):
    """One that does not say that it may be recorded, as its parent does."""


class OwnScheduler(LogitNormalScheduler):
    """The same of a scheduler."""


def test_a_class_of_yours_has_to_say_that_it_may_be_recorded() -> None:
    training = Training()
    assert why_unrecordable(training.objective, training.model) is None
    training.objective.scheduler = OwnScheduler()
    assert "scheduler=OwnScheduler" in str(why_unrecordable(training.objective, training.model))
    training.model.blocks.append(Passing())
    assert "Passing" in str(why_unrecordable(training.objective, training.model))
    assert "object" in str(why_unrecordable(object(), nn.Linear(1, 1)))


class Passing(nn.Module):
    """A block of somebody's own."""


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"terms": {"mine": Inherited(0.5, 1, "latents", "conv", "cosine", True, dim=32, latent_channels=4)}},
            "objective.terms.mine=Inherited does not say",
        ),
        ({"make_optimizer": lambda named: torch.optim.SGD([p for _, p in named], lr=0.1)}, "SGD cannot be recorded"),
        ({"terms": {"contrastive": Contrastive(0.05)}}, "objective.terms.contrastive=Contrastive does not say"),
        ({"terms": {"align": align(until_step=3)}}, "objective.terms.align.until_step ends"),
    ],
)
def test_what_a_graph_would_not_do_again_is_refused(changed: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        Training(**changed).take(1, recorded=True)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("trainer.device=cpu", "trainer.device is cpu"),
        ("trainer.compile=reduce-overhead", "cannot record others"),
        ("trainer.on_nonfinite=skip", "trainer.on_nonfinite=skip"),
        ("trainer.parallel=fsdp", "trainer.parallel=fsdp"),
        ("trainer.gradient_checkpointing=true", "trainer.gradient_checkpointing=true"),
        ("optimizer=soap", "those of optimizer=muon and optimizer=adamw can be recorded"),
        ("trainer.precision=bf16_weights", "trainer.precision=bf16_weights"),
        ("routing=tread", "routing=tread"),
        ("objective.coupling=immiscible", "objective.coupling=immiscible"),
        ("objective.terms.contrastive.weight=0.05", "objective.terms.contrastive"),
        ("objective.terms.align.until_step=10", "objective.terms.align.until_step=10"),
    ],
)
def test_what_does_not_go_together_with_it_is_told_when_it_is_composed(other: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as refused:
        check_config(compose("trainer.cuda_graph=true", other, "output_dir=x"))
    assert "trainer.cuda_graph=true" in str(refused.value)
    check_config(compose("trainer.cuda_graph=true", "trainer.compile=static", "output_dir=x"))
    as_it_is = compose(other, "output_dir=x")
    check_config(as_it_is)
    assert may_record(as_it_is) == (other == "trainer.device=cpu")  # which is another question


def test_a_machine_without_a_gpu_is_told_before_anything_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "pick_device", lambda *_: "cpu")
    with pytest.raises(UserError, match=r"trainer.cuda_graph=true: a GPU records CUDA graphs"):
        session.open_session(compose("trainer.cuda_graph=true", "output_dir=x"))
