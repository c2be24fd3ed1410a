"""Guidance against what it says, put down by hand."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from aaa.diffusion.autoguidance import CheckpointGuidance
from aaa.diffusion.guidance import PromptGuidance, VelocityModel, rescaled
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler
from aaa.errors import UserError

POSITIVE, NEGATIVE = torch.full((2, 1, 1), 0.3), torch.full((2, 1, 1), -0.4)


def latents() -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def model(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
    return torch.sin(3 * latents + prompt_embeds.view(-1, 1, 1, 1) + timestep / 1000)


def weaker(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
    return 0.5 * model(latents, prompt_embeds, timestep) + 0.1


MODEL, WEAKER = (VelocityModel(network, VelocityPrediction()) for network in (model, weaker))


def at(network: Any, embeds: Tensor, sigma: float) -> Tensor:
    said: Tensor = network(latents(), embeds, torch.tensor([sigma * 1000]))
    return said


def test_without_interval_and_rescale_it_is_what_it_was_to_the_bit() -> None:
    """Euler's steps and guidance as they were before there was more to say, written down again."""
    sampling = Sampling(LinearScheduler(), Euler(), PromptGuidance(4), VelocityPrediction(), 5)
    sigmas = sampling.sigmas(16)
    x, both = latents(), torch.cat([POSITIVE, NEGATIVE])
    for sigma, following in pairwise(sigmas):
        positive, negative = model(x.repeat(2, 1, 1, 1), both, torch.tensor([sigma * 1000])).chunk(2)
        x = x + (negative + 4 * (positive - negative)) * (following - sigma)
    assert torch.equal(sampling.draw(model, latents(), POSITIVE, NEGATIVE, sigmas), x)


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.5, 0.8, 0.9])
def test_outside_the_interval_the_prompt_is_followed_alone(sigma: float) -> None:
    guidance = PromptGuidance(4, [0.2, 0.8])
    found = guidance(MODEL, POSITIVE, NEGATIVE)(latents(), sigma)
    positive, negative = at(model, POSITIVE, sigma), at(model, NEGATIVE, sigma)
    inside = 0.2 <= sigma <= 0.8
    torch.testing.assert_close(found, negative + 4 * (positive - negative) if inside else positive)
    assert guidance.passes(sigma) == (2 if inside else 1)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5])
def test_a_scale_below_1_steers_too(scale: float) -> None:
    guidance = PromptGuidance(scale)
    positive, negative = at(model, POSITIVE, 0.5), at(model, NEGATIVE, 0.5)
    found = guidance(MODEL, POSITIVE, NEGATIVE)(latents(), 0.5)
    torch.testing.assert_close(found, negative + scale * (positive - negative))
    assert guidance.passes(0.5) == 2


@pytest.mark.parametrize(("steps", "within"), [(10, 7), (20, 13), (30, 19), (50, 31)])
def test_the_ends_of_the_interval_are_in_it_however_they_are_rounded(steps: int, within: int) -> None:
    levels = LinearScheduler().sampling_sigmas(steps, 16)[:-1].tolist()
    assert sum(map(PromptGuidance(4, [0.2, 0.8]).steers, levels)) == within


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_rescaling_takes_the_deviation_back(share: float) -> None:
    guidance = PromptGuidance(6, rescale=share)
    found = guidance(MODEL, POSITIVE, NEGATIVE)(latents(), 0.5).numpy()
    positive, negative = (at(model, embeds, 0.5).numpy() for embeds in (POSITIVE, NEGATIVE))
    guided = negative + 6 * (positive - negative)
    for picture in range(2):
        whole = guided[picture] * np.std(positive[picture]) / np.std(guided[picture])
        expected = share * whole + (1 - share) * guided[picture]
        np.testing.assert_allclose(found[picture], expected, rtol=1e-4, atol=1e-5)
        if share == 1:
            assert np.std(found[picture]) == pytest.approx(np.std(positive[picture]), rel=1e-5)


def test_rescaling_nothing_leaves_nothing() -> None:
    assert torch.equal(rescaled(torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2), 1.0), torch.zeros(1, 2, 2, 2))


@pytest.mark.parametrize("sigma", [0.1, 0.6])
def test_a_checkpoint_guides_by_what_it_says_to_the_same_prompt(sigma: float) -> None:
    guidance = CheckpointGuidance(2.5, "weaker", interval=(0.5, 1.0))
    guidance.guide = WEAKER
    found = guidance(MODEL, POSITIVE, NEGATIVE)(latents(), sigma)
    strong, weak = at(model, POSITIVE, sigma), at(weaker, POSITIVE, sigma)
    torch.testing.assert_close(found, weak + 2.5 * (strong - weak) if sigma == 0.6 else strong)


def test_a_guidance_may_ask_the_network_for_more_than_one_output() -> None:
    """Internal guidance from outside: one pass, two outputs, away from the one of a head on the way."""

    def two_headed(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        return model(latents, prompt_embeds, timestep), weaker(latents, prompt_embeds, timestep)

    asked: Any = VelocityModel(two_headed, VelocityPrediction())  # type: ignore[arg-type]
    both = asked.network(latents(), POSITIVE, torch.tensor([500.0]))
    last, inner = (asked.of(lambda *_, said=said: said)(latents(), POSITIVE, 0.5) for said in both)
    assert torch.equal(last, at(model, POSITIVE, 0.5))
    assert torch.equal(inner, at(weaker, POSITIVE, 0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": [0.8, 0.2]}, r"guidance\.interval=\[0\.8, 0\.2\]: must be two noise levels"),
        ({"interval": [0.5, 0.5]}, r"guidance\.interval"),
        ({"interval": [-0.1, 0.5]}, r"guidance\.interval"),
        ({"interval": [0.1, 1.5]}, r"guidance\.interval"),
        ({"interval": [0.1, 0.5, 0.9]}, r"guidance\.interval"),
        ({"interval": 0.5}, r"guidance\.interval=0\.5"),
        ({"interval": "ab"}, r"guidance\.interval=ab"),
        ({"interval": [0.1, float("nan")]}, r"guidance\.interval"),
        ({"rescale": 1.5}, r"guidance\.rescale=1\.5: must be at least 0 and at most 1"),
        ({"rescale": -0.1}, r"guidance\.rescale"),
        ({"rescale": "much"}, r"guidance\.rescale"),
    ],
)
@pytest.mark.parametrize("kind", [PromptGuidance, CheckpointGuidance])
def test_what_cannot_be_is_said(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(3, **arguments)


def test_a_checkpoint_has_to_be_named() -> None:
    with pytest.raises(UserError, match=r"guidance\.model: .* none is named"):
        CheckpointGuidance(3)
