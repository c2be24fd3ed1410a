"""The noise levels that pictures are drawn along."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler, SeededNoise
from aaa.diffusion.sampling import RARE, Sampling
from aaa.diffusion.schedulers import (
    Flux2Scheduler,
    LinearScheduler,
    LogitNormalScheduler,
    NoiseLevels,
    NoiseScheduler,
    level_above,
)
from aaa.training.precision import ModelPrecision

PIXELS = LogitNormalScheduler(0.8, 0.8)


def levels(
    scheduler: NoiseScheduler, steps: int, last_sigma: float | None = None, strength: float = 1.0
) -> list[float]:
    sampling = Sampling(scheduler, Euler(), PromptGuidance(1), VelocityPrediction(), steps, last_sigma)
    return sampling.sigmas(256, strength)


@pytest.mark.parametrize("scheduler", [PIXELS, LogitNormalScheduler(0.5, 1.0), LinearScheduler()])
def test_a_scheduler_knows_below_which_level_it_hardly_trains(scheduler: LinearScheduler) -> None:
    drawn = scheduler.draw(10**6, torch.Generator().manual_seed(0)).sigma
    below = float((drawn < scheduler.level_above(RARE)).float().mean())
    assert below == pytest.approx(RARE, rel=0.1)


def test_a_model_is_not_asked_where_it_was_hardly_trained() -> None:
    asked = levels(PIXELS, 20)
    assert len(asked) == 21
    assert asked[-2:] == pytest.approx([PIXELS.level_above(RARE), 0.0])
    assert asked[-2] == pytest.approx(0.2, abs=0.01)
    steps = torch.tensor(asked[:-1]).diff()
    assert torch.allclose(steps, steps[0].expand(len(steps)), atol=1e-6)


@pytest.mark.parametrize(("scheduler", "steps"), [(PIXELS, 5), (LogitNormalScheduler(0.5, 1.0), 10), (PIXELS, 1)])
def test_steps_that_stay_above_are_left_as_they_are(scheduler: LogitNormalScheduler, steps: int) -> None:
    """The default's ten steps end at 0.1, of which more than enough is trained on."""
    assert levels(scheduler, steps) == scheduler.sampling_sigmas(steps, 256).tolist()


def test_a_last_step_that_begins_just_there_is_left_as_it_is() -> None:
    own = LinearScheduler(3.0).sampling_sigmas(5, 256).tolist()
    assert levels(LinearScheduler(3.0), 5, own[-2]) == own


@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_others_are_moved_up_in_proportion_to_those_of_a_step_less(strength: float) -> None:
    own = LinearScheduler(3.0).sampling_sigmas(4, 256, strength)
    moved = 0.5 + (own[0] - 0.5) * own / own[0]
    assert levels(LinearScheduler(3.0), 5, 0.5, strength) == pytest.approx([*moved.tolist(), 0.0])


def test_what_a_config_says_goes_first() -> None:
    assert levels(PIXELS, 20, 0.0) == PIXELS.sampling_sigmas(20, 256).tolist()
    assert levels(PIXELS, 20, 0.4)[-2:] == pytest.approx([0.4, 0.0])
    assert levels(Flux2Scheduler(), 8) == Flux2Scheduler().sampling_sigmas(8, 256).tolist()  # which does not know
    assert levels(Flux2Scheduler(), 30, 0.3)[-2:] == pytest.approx([0.3, 0.0])


class Uniform(LogitNormalScheduler):
    """One of somebody's own, which inherits what is not true of it."""

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        return LinearScheduler().draw(batch_size, generator)


def test_what_a_scheduler_inherits_is_not_asked_about_levels_of_its_own() -> None:
    assert level_above(PIXELS, RARE) == PIXELS.level_above(RARE)
    assert level_above(Uniform(0.8, 0.8), RARE) == 0
    assert levels(Uniform(0.8, 0.8), 20) == PIXELS.sampling_sigmas(20, 256).tolist()
    assert LogitNormalScheduler(-800, 300).level_above(RARE) == 0


@pytest.mark.parametrize("steps", [2, 3, 5, 30])
def test_a_picture_that_is_redrawn_begins_where_it_was_asked_to(steps: int) -> None:
    """Levels of FLUX.2 depend on how many there are."""
    assert levels(Flux2Scheduler(), steps, 0.3, 0.1)[0] == levels(Flux2Scheduler(), steps, 0.0, 0.1)[0]


@given(
    st.builds(LogitNormalScheduler, st.floats(-3, 3), st.floats(0.1, 3), st.floats(0.2, 5)),
    st.integers(1, 60),
    st.none() | st.floats(0, 0.99),
    st.floats(0.05, 1),
)
def test_levels_fall_from_the_first_to_0_in_as_many_steps(
    scheduler: LogitNormalScheduler, steps: int, last_sigma: float | None, strength: float
) -> None:
    found, own = levels(scheduler, steps, last_sigma, strength), scheduler.sampling_sigmas(steps, 256, strength)
    assert len(found) == steps + 1
    assert found[0] == pytest.approx(own[0].item())
    assert found[-1] == 0
    assert found == sorted(set(found), reverse=True)
    wanted = scheduler.level_above(RARE) if last_sigma is None else last_sigma
    if wanted >= own[0]:  # a picture that is hardly redrawn begins below it
        assert found == own.tolist()
    elif steps > 1:
        assert found[-2] >= wanted - 1e-6


@pytest.mark.parametrize(("rounded", "told"), [("bfloat16", 772.0), ("float32", 770.83)])
def test_timesteps_are_rounded_where_they_were_in_training(rounded: str, told: float) -> None:
    heard: list[float] = []

    def network(latents: torch.Tensor, _prompt_embeds: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        heard.append(float(timestep))
        return latents

    latents, prompt = torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16), torch.zeros(1, 1, 4, dtype=torch.bfloat16)
    sampling = Sampling(Flux2Scheduler(rounded), Euler(), PromptGuidance(1), VelocityPrediction(), 1)
    sampling.draw(network, latents, prompt, prompt, [0.77083, 0.0])
    assert heard == pytest.approx([told], abs=1e-3)


@pytest.mark.parametrize("steps", [30, 500])
def test_many_small_steps_in_bf16_are_not_rounded_away(steps: int) -> None:
    def velocity(noised: Tensor, _prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        """Of normal pictures of deviation 0.5, exactly; `B C H W`."""
        assert noised.dtype == torch.bfloat16
        sigma = timestep.float().view(-1, 1, 1, 1) / 1000
        kept = 0.25 * (1 - sigma)
        return noised * (sigma - kept) / (sigma.square() + (1 - sigma) * kept)

    noise = SeededNoise([0])
    running = ModelPrecision("bf16_weights", torch.device("cpu")).running(velocity)
    sampling = Sampling(LinearScheduler(), Euler(), PromptGuidance(1), VelocityPrediction(), steps)
    prompt_embeds = torch.zeros(1, 1, 1)
    drawn = sampling.draw(running, noise((1, 64, 64)), prompt_embeds, prompt_embeds, sampling.sigmas(256), noise)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("strength", [0.3, 0.6, 0.7, 0.99])
def test_a_picture_that_is_redrawn_from_just_there_goes_down_all_the_same(strength: float) -> None:
    own = LinearScheduler().sampling_sigmas(4, 256, strength).tolist()
    assert levels(LinearScheduler(), 4, strength, strength) == own
