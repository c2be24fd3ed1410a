"""One vector for the whole prompt: of its words alone, and nothing to begin with."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.guidance import PromptGuidance, VelocityModel
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler
from aaa.models.dit import AAADiT
from aaa.models.pooled_prompt import mean_of_words
from aaa.objectives.flow_matching import FlowMatching
from tests.helpers.designs import inputs, small
from tests.models.test_parts import scrambled


def pooling(**switches: Any) -> AAADiT:
    """A model that has learned something of the prompt's vector."""
    model = small(pooled_prompt=True, **switches)
    assert model.pooled_prompt is not None
    scrambled(model.pooled_prompt)
    return model


def seen_by(model: AAADiT) -> list[Tensor]:
    """What will be made of prompts."""
    made: list[Tensor] = []
    assert model.pooled_prompt is not None
    model.pooled_prompt.register_forward_hook(lambda _part, _args, out: made.append(out.detach()))
    return made


def test_it_is_the_mean_of_the_words() -> None:
    words = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    prompt_embeds = torch.zeros(3, 5, 8)
    prompt_embeds[0, :3], prompt_embeds[1, :1] = words, words[0]
    expected = torch.stack([words.mean(dim=0), words[0], torch.zeros(8)])
    torch.testing.assert_close(mean_of_words(prompt_embeds), expected)
    assert mean_of_words(prompt_embeds[:, :0]).abs().max() == 0


@pytest.mark.parametrize("init", ["scaled", "torch"])
@pytest.mark.parametrize("modulation", ["gate", "adaln", "adaln_shared", "none"])
def test_a_run_begins_as_without_it(init: str, modulation: str) -> None:
    plain, model = small(init, modulation=modulation), small(init, modulation=modulation, pooled_prompt=True)
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name
    assert torch.equal(plain(*inputs()), model(*inputs()))
    assert model.get_parameter("pooled_prompt.0.weight").abs().max() > 0, "else it would never learn"
    assert model.get_parameter("pooled_prompt.2.weight").abs().max() == 0


@pytest.mark.parametrize("switches", [{}, {"joint": "mmdit"}, {"joint": "cross"}, {"modulation": "none"}])
def test_padding_makes_no_difference(switches: dict[str, Any]) -> None:
    model = pooling(mask_padding=True, **switches)
    latents, prompt_embeds, timestep = inputs()
    prompt_embeds[:, 2:] = 0
    padded = model(latents, prompt_embeds, timestep)
    torch.testing.assert_close(padded, model(latents, prompt_embeds[:, :2], timestep))
    plain = small(mask_padding=True, **switches)
    assert not torch.allclose(padded, plain(latents, prompt_embeds, timestep), atol=1e-4)


def test_a_dropped_prompt_has_the_empty_ones_vector() -> None:
    model = pooling()
    made = seen_by(model)
    empty = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    latents, prompt_embeds, _ = inputs()
    objective = FlowMatching(LinearScheduler(), empty, 1.0, VelocityPrediction())
    objective(model, Batch.of_strangers(latents, prompt_embeds), generator("test"), 0)
    assert model.pooled_prompt is not None
    torch.testing.assert_close(made[0], model.pooled_prompt(empty.expand(2, -1, -1)))


def test_guidance_steers_away_from_the_negative_prompts_vector() -> None:
    model = pooling()
    made = seen_by(model)
    latents, prompt_embeds, _ = inputs()
    negative = torch.zeros_like(prompt_embeds)
    with torch.no_grad():
        velocity = PromptGuidance(3)(VelocityModel(model, VelocityPrediction()), prompt_embeds, negative)(latents, 0.5)
        told = torch.tensor([500.0])
        with_it, without = (model(latents, embeds, told) for embeds in (prompt_embeds, negative))
    assert made[0].shape == (4, 16), "of one timestep, each prompt has its own"
    assert not torch.equal(made[0][:2], made[0][2:])
    torch.testing.assert_close(velocity, without + 3 * (with_it - without))
