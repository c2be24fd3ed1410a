"""Guidance by a model's weaker way: which way it is, and that a seed says all of it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aaa.data.randomness import generator
from aaa.diffusion.guidance import VelocityModel
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.routed import RoutingGuidance
from aaa.diffusion.samplers import Euler, SeededNoise
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler
from aaa.errors import UserError
from aaa.models.forward import WeakerWay
from aaa.models.routing import Routing
from aaa.models.sprint import Sprint
from tests.helpers.designs import inputs, small

LATENTS, PROMPTS, _ = inputs()
NEGATIVE = PROMPTS.flip(0)
TREAD, SPRINT = (small(depth=4, routing=routing) for routing in (Routing(0.5, 2, 3), Sprint(0.5, 2, 3, 0.1)))


def velocity(network: Any) -> VelocityModel:
    return VelocityModel(network, VelocityPrediction(), seeds=(7, 8))


@pytest.mark.parametrize("network", [TREAD, SPRINT])
@pytest.mark.parametrize("weaker_prompt", ["same", "negative"])
def test_it_goes_on_from_the_weaker_way_through_the_whole_model(network: Any, weaker_prompt: str) -> None:
    guidance = RoutingGuidance(2.5, 0.75, weaker_prompt, interval=[0.3, 1.0])
    predict = guidance(velocity(network), PROMPTS, NEGATIVE)
    time = torch.tensor([600.0])
    better = network(LATENTS, PROMPTS, time)
    draws = [generator(seed, "weaker way") for seed in (7, 8)]
    weaker = []
    for _ in range(2):
        order = torch.stack([torch.rand(12, generator=own) for own in draws])
        told = PROMPTS if weaker_prompt == "same" else NEGATIVE
        weaker.append(network(LATENTS, told, time, weaker=WeakerWay(0.75, order)))
        torch.testing.assert_close(predict(LATENTS, 0.6), weaker[-1] + 2.5 * (better - weaker[-1]))
    assert torch.equal(weaker[0], weaker[1]) == (network is SPRINT), "drawn anew each time"
    torch.testing.assert_close(predict(LATENTS, 0.2), network(LATENTS, PROMPTS, torch.tensor([200.0])))
    assert (guidance.passes(0.6), guidance.passes(0.2)) == (2, 1)
    assert guidance.reads_negative_prompt == (weaker_prompt == "negative")


def test_a_picture_depends_on_its_own_seed_alone() -> None:
    sampling = Sampling(LinearScheduler(), Euler(), RoutingGuidance(2.0, 0.5), VelocityPrediction(), 4)
    sigmas = sampling.sigmas(12)

    def draw(seeds: list[int]) -> Tensor:
        noise = SeededNoise(seeds)
        prompts = PROMPTS[:1].expand(len(seeds), -1, -1)
        return sampling.draw(TREAD, noise((4, 3, 4)), prompts, prompts, sigmas, noise)

    together = draw([5, 6])
    torch.testing.assert_close(together[1:], draw([6]))
    torch.testing.assert_close(together, draw([5, 6]))
    assert not torch.allclose(together[0], together[1])


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match=r"guidance=routing: the model routes no tokens"):
        RoutingGuidance(2.0, 0.5)(velocity(small()), PROMPTS, NEGATIVE)
    with pytest.raises(UserError, match=r"guidance\.rate=1\.5: must be at least 0 and at most 1"):
        RoutingGuidance(2.0, 1.5)
    with pytest.raises(UserError, match=r"guidance\.weaker_prompt=none: must be one of same, negative"):
        RoutingGuidance(2.0, 0.5, "none")
    with pytest.raises(ValueError, match="a weaker way is wanted"):
        small()(LATENTS, PROMPTS, torch.tensor([1.0]), weaker=WeakerWay(0.5, torch.rand(2, 12)))
