"""Guidance by the internal head, beside its equation."""

from functools import partial

import pytest
import torch

from aaa.diffusion.guidance import VelocityModel
from aaa.diffusion.internal import InternalGuidance
from aaa.diffusion.prediction import CleanPrediction, VelocityPrediction
from aaa.errors import UserError
from aaa.training.precision import ModelPrecision
from tests.helpers.designs import inputs, small

LATENTS, PROMPTS, _ = inputs()


def test_it_goes_on_from_the_head_on_the_way_through_the_last_one_in_one_pass() -> None:
    network = small(internal_head=1)
    torch.nn.init.normal_(network.get_parameter("internal_head.weight"))
    passes: list[int] = []
    network.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    predict = InternalGuidance(1.5, [0.3, 1.0])(VelocityModel(network, VelocityPrediction()), PROMPTS, PROMPTS[:0])
    found, outside = predict(LATENTS, 0.6), predict(LATENTS, 0.2)
    assert len(passes) == 2
    assert InternalGuidance(1.5).passes(0.6) == 1
    output = network(LATENTS, PROMPTS, torch.tensor([600.0]), hidden_after=[1])
    inner = network.internal_head(output.hidden[1]).transpose(1, 2).unflatten(2, (3, 4))  # type: ignore[misc]
    torch.testing.assert_close(found, inner + 1.5 * (output.prediction - inner))
    torch.testing.assert_close(outside, network(LATENTS, PROMPTS, torch.tensor([200.0])))


def test_heads_that_predict_the_clean_picture_guide_by_the_velocity_that_follows() -> None:
    network = small(internal_head=1)
    predict = InternalGuidance(2.0)(VelocityModel(network, CleanPrediction()), PROMPTS, PROMPTS)
    output = network(LATENTS, PROMPTS, torch.tensor([500.0]), with_internal=True)
    final, inner = ((LATENTS - clean) / 0.5 for clean in (output.prediction, output.internal))
    torch.testing.assert_close(predict(LATENTS, 0.5), inner + 2 * (final - inner))


@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_a_model_run_in_a_precision_shows_its_head_all_the_same(name: str) -> None:
    precision = ModelPrecision(name, torch.device("cpu"))
    running = precision.running(small(internal_head=1))
    output = running(LATENTS, PROMPTS, torch.tensor([500.0]), with_internal=True)
    assert output.prediction.dtype == output.internal.dtype == (torch.bfloat16 if name == "bf16" else torch.float32)
    InternalGuidance(2.0)(VelocityModel(running, VelocityPrediction()), PROMPTS, PROMPTS)(LATENTS, 0.5)


@pytest.mark.parametrize("wrap", [lambda network: network, lambda network: partial(network)])
def test_a_model_without_a_head_is_refused(wrap: type) -> None:
    with pytest.raises(UserError, match=r"guidance=internal: the model has no internal head \(model\.internal_head\)"):
        InternalGuidance(2.0)(VelocityModel(wrap(small()), VelocityPrediction()), PROMPTS, PROMPTS)
