"""Parts of one's own that are none: what is said of them before a run takes its first step."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from aaa.assembly.parts import build_objective, build_optimizer, build_sampling
from aaa.diffusion.schedulers import NoiseLevels
from aaa.errors import UserError
from aaa.objectives.terms import ForwardPass, Term
from tests.helpers.composed import compose


def of_levels(sigma: Tensor) -> NoiseLevels:
    return NoiseLevels(sigma, 1000 * sigma, torch.ones_like(sigma))


class Fine:
    """What a scheduler has to have, and no more; those below give something else."""

    def draw(self, batch_size: int, generator: torch.Generator) -> Any:
        return self.drawn(torch.rand(batch_size, generator=generator, device=generator.device))

    def sampling_sigmas(self, steps: int, tokens: int, denoising_strength: float = 1.0) -> Any:
        del tokens
        return self.visited(torch.linspace(denoising_strength, 0, steps + 1))

    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(sigma)

    def visited(self, sigmas: Tensor) -> Any:
        return sigmas


class Bare:
    draw = Fine.draw


class Timesteps(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(1000 * sigma / sigma.max())


class Unknown(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(torch.nan * sigma)


class Column(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(sigma[:, None])


class OneWeight(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(sigma)._replace(weight=1.0)  # type: ignore[arg-type]


class Rising(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return sigmas.flip(0)


class TurningBack(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return torch.cat([sigmas[:1], sigmas[1:-1].flip(0), sigmas[-1:]])


class WithoutTheLast(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return sigmas[:-1]


class EndingEarly(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return 0.1 + 0.9 * sigmas


class FromAThousand(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return 1000 * sigmas


class Numbers(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return sigmas.tolist()


class NoTerm:
    def __init__(self, weight: float) -> None:
        self.weight = weight


class Forgetful(Term):
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, done: ForwardPass) -> Tensor:
        return done.weight


class NoOptimizer:
    def __init__(self, named_parameters: object, learning_rate: float) -> None:
        pass


def forgotten(named_parameters: list[tuple[str, nn.Parameter]], learning_rate: float) -> None:
    torch.optim.SGD([parameter for _, parameter in named_parameters], lr=learning_rate)


def with_part(key: str, part: Callable[..., object], **arguments: float) -> DictConfig:
    config = compose("sampling.steps=10")
    OmegaConf.update(config, key, {"_target_": f"{__name__}.{part.__name__}", **arguments}, merge=False, force_add=True)
    return config


def objective_of(config: DictConfig) -> object:
    return build_objective(config, torch.zeros(3, 8))


def test_a_scheduler_that_has_what_it_has_to_have_is_taken() -> None:
    config = with_part("scheduler", Fine)
    objective_of(config)
    assert build_sampling(config).sigmas(16) == torch.linspace(1, 0, 11).tolist()


@pytest.mark.parametrize("build", [objective_of, build_sampling])
def test_a_scheduler_without_what_is_asked_of_it_is_refused(build: Callable[[DictConfig], object]) -> None:
    with pytest.raises(UserError, match="scheduler: Bare has no sampling_sigmas, which training and sampling ask"):
        build(with_part("scheduler", Bare))


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (Timesteps, "Timesteps.draw gives sigma=1000, and has to give numbers from 0"),
        (Unknown, "Unknown.draw gives sigma=nan, and has to give numbers from 0"),
        (Column, "Column.draw gives sigma of shape (256, 1), and has to give NoiseLevels(sigma, timestep, weight)"),
        (OneWeight, "OneWeight.draw gives a float as weight, and has to give NoiseLevels(sigma, timestep, weight)"),
    ],
)
def test_levels_that_cannot_be_trained_on_are_refused(scheduler: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"scheduler: {said}")):
        objective_of(with_part("scheduler", scheduler))


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (Rising, "Rising.sampling_sigmas gives noise levels from 0 to 1, and has to give a tensor of 11 for 10 steps"),
        (TurningBack, "TurningBack.sampling_sigmas gives noise levels from 1 to 0 that do not fall, and has to"),
        (WithoutTheLast, "WithoutTheLast.sampling_sigmas gives noise levels of shape (10,), and has to give a tensor"),
        (EndingEarly, "EndingEarly.sampling_sigmas gives noise levels from 1 to 0.1, and has to give a tensor of 11"),
        (FromAThousand, "FromAThousand.sampling_sigmas gives noise levels from 1000 to 0, and has to give a tensor"),
        (Numbers, "Numbers.sampling_sigmas gives a list, and has to give a tensor of 11"),
    ],
)
def test_levels_that_lead_to_no_clean_picture_are_refused(scheduler: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"scheduler: {said}")):
        build_sampling(with_part("scheduler", scheduler))


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (NoTerm, "NoTerm is no subclass of aaa.objectives.terms.Term"),
        (Forgetful, "Forgetful has no until_step: its __init__ has to call super().__init__(weight, until_step)"),
    ],
)
def test_a_term_that_is_none_is_refused(term: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"objective.terms.own: {said}")):
        objective_of(with_part("objective.terms.own", term, weight=0.1))


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [(NoOptimizer, "NoOptimizer is no torch.optim.Optimizer"), (forgotten, "forgotten gives None")],
)
def test_an_optimizer_that_is_none_is_refused(optimizer: Callable[..., object], said: str) -> None:
    config = with_part("optimizer", optimizer, learning_rate=0.1)
    with pytest.raises(UserError, match=re.escape(f"optimizer: {said}, and has to be a subclass of torch.optim")):
        build_optimizer(config, nn.Linear(2, 2))
