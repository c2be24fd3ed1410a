"""Our batched functions against DiffSynth's own, which handle one timestep a call."""

from typing import Any

import pytest
import torch

from aaa.data.randomness import generator
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import Flux2Scheduler, add_noise
from aaa.objectives.flow_matching import velocity_error
from aaa.objectives.weighting import make_weighting


@pytest.fixture(scope="module")
def diffsynth_scheduler() -> Any:
    from diffsynth.diffusion import FlowMatchScheduler

    scheduler = FlowMatchScheduler("FLUX.2")
    scheduler.set_timesteps(1000, training=True)
    return scheduler


def test_drawn_noise_levels_and_weights_are_diffsynths(diffsynth_scheduler: Any) -> None:
    sigma, timesteps, weight = Flux2Scheduler().draw(512, generator("test"))
    torch.testing.assert_close(timesteps, sigma * 1000)
    for timestep, found in zip(timesteps, weight, strict=True):
        assert (diffsynth_scheduler.timesteps - timestep).abs().min() < 1e-3
        torch.testing.assert_close(found, diffsynth_scheduler.training_weight(timestep))
    assert sigma.unique().numel() > 300  # of 1000 levels


def test_timesteps_that_are_rounded_have_the_levels_and_weights_that_diffsynth_looks_up(
    diffsynth_scheduler: Any,
) -> None:
    sigma, timesteps, weight = Flux2Scheduler("bfloat16").draw(256, generator("rounded"))
    assert torch.equal(timesteps.bfloat16().float(), timesteps)
    for level, timestep, found in zip(sigma, timesteps, weight, strict=True):
        noised = diffsynth_scheduler.add_noise(torch.zeros(1), torch.ones(1), timestep)  # the level itself
        torch.testing.assert_close(level, noised.squeeze())
        torch.testing.assert_close(found, diffsynth_scheduler.training_weight(timestep))


def test_the_bell_of_weights_as_a_function_of_the_noise_level_is_diffsynths(diffsynth_scheduler: Any) -> None:
    levels = Flux2Scheduler().draw(512, generator("bell"))
    torch.testing.assert_close(make_weighting("flux2", 5.0)(levels), levels.weight, atol=1e-5, rtol=1e-4)


def test_noised_latents_target_and_loss_are_diffsynths(diffsynth_scheduler: Any) -> None:
    draws = generator("test")
    sigma, _, _ = Flux2Scheduler().draw(8, draws)
    latents, noise = torch.randn(2, 8, 4, 3, 3, generator=draws)
    prediction = torch.randn(8, 4, 3, 3, generator=draws)
    noised = add_noise(latents, noise, sigma)
    losses = velocity_error(prediction, latents, noise)
    for i in range(8):
        timestep = sigma[i : i + 1] * 1000
        torch.testing.assert_close(noised[i], diffsynth_scheduler.add_noise(latents[i], noise[i], timestep))
        target = diffsynth_scheduler.training_target(latents[i], noise[i], timestep)
        torch.testing.assert_close(losses[i], torch.nn.functional.mse_loss(prediction[i], target))


@pytest.mark.parametrize(
    ("steps", "tokens", "strength"), [(30, 256, 1.0), (7, 64, 0.6), (50, 4096, 0.3), (1, 256, 1.0)]
)
def test_a_sampling_trajectory_is_diffsynths(steps: int, tokens: int, strength: float) -> None:
    from diffsynth.diffusion import FlowMatchScheduler

    theirs = FlowMatchScheduler("FLUX.2")
    theirs.set_timesteps(steps, denoising_strength=strength, dynamic_shift_len=tokens)
    sigmas = Flux2Scheduler().sampling_sigmas(steps, tokens, strength)
    torch.testing.assert_close(sigmas[:-1], theirs.sigmas)
    assert sigmas[-1] == 0

    def model(latents: torch.Tensor, prompt_embeds: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.sin(latents * 3 + prompt_embeds.mean() + timestep.view(-1, 1, 1, 1) / 1000)

    latents = torch.randn(1, 4, 3, 3, generator=generator("test"))
    positive, negative = torch.full((1, 2, 2), 0.3), torch.full((1, 2, 2), -0.4)
    expected = latents
    for timestep in theirs.timesteps:
        posi, nega = (model(expected, embeds, timestep[None]) for embeds in (positive, negative))
        expected = theirs.step(nega + 10 * (posi - nega), timestep, expected)

    def batched(latents: torch.Tensor, prompt_embeds: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.cat([model(x[None], e[None], timestep) for x, e in zip(latents, prompt_embeds, strict=True)])

    sampling = Sampling(Flux2Scheduler(), Euler(), PromptGuidance(10), VelocityPrediction(), steps)
    found = sampling.draw(batched, latents, positive, negative, sampling.sigmas(tokens, strength))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
