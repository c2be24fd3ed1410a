from typing import Any

import pytest
import torch

from aaa.models.factory import build_dit
from tests.helpers.reference import ReferenceDiT

TUTORIAL: dict[str, Any] = {"dim": 1024, "depth": 10, "heads": 32, "in_channels": 128, "text_dim": 1024}


@pytest.fixture(scope="module")
def reference() -> ReferenceDiT:
    torch.manual_seed(0)
    return ReferenceDiT().eval()


@pytest.fixture(scope="module")
def ours(reference: ReferenceDiT) -> torch.nn.Module:
    with torch.device("meta"):
        model = build_dit(**TUTORIAL, init="torch")
    model.load_state_dict(reference.state_dict(), assign=True)
    return model.eval()


def test_the_tutorials_model_has_its_parameters_keys_and_shapes(reference: ReferenceDiT, ours: torch.nn.Module) -> None:
    assert sum(parameter.numel() for parameter in ours.parameters()) == 128_824_448
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in reference.state_dict().items()}


@pytest.mark.parametrize(
    ("height", "width", "tokens", "timestep"), [(16, 16, 128, 731.5), (8, 12, 7, 0.0), (4, 4, 3, 1000.0)]
)
def test_equal_weights_and_inputs_give_the_tutorials_outputs(
    reference: ReferenceDiT, ours: torch.nn.Module, height: int, width: int, tokens: int, timestep: float
) -> None:
    torch.manual_seed(1)
    latents, prompt_embeds = torch.randn(2, 128, height, width), torch.randn(2, tokens, 1024)
    with torch.no_grad():
        expected = reference(latents, prompt_embeds, torch.tensor([timestep]))
        found = ours(latents, prompt_embeds, torch.tensor([timestep]))
    assert (found - expected).abs().max() < 1e-5


def test_each_sample_of_a_batch_has_a_timestep_of_its_own() -> None:
    torch.manual_seed(0)
    model = build_dit(64, 2, 2, in_channels=12, text_dim=16, init="torch")
    latents, prompt_embeds = torch.randn(3, 12, 4, 6), torch.randn(3, 5, 16)
    timestep = torch.tensor([1.0, 500.0, 999.0])
    with torch.no_grad():
        together = model(latents, prompt_embeds, timestep)
        alone = [model(latents[i : i + 1], prompt_embeds[i : i + 1], timestep[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], model(latents, prompt_embeds, timestep.flip(0))[0], atol=1e-3)


def test_positions_are_as_precise_as_latents_where_products_are_not() -> None:
    """As the tutorial's class has them: rounded, they would change what every mixed run computes."""
    torch.manual_seed(0)
    numbers: dict[str, Any] = {"dim": 64, "depth": 2, "heads": 2, "in_channels": 12, "text_dim": 16}
    reference = ReferenceDiT(**numbers)
    ours = build_dit(**numbers, init="torch")
    ours.load_state_dict(reference.state_dict())
    inputs = torch.randn(2, 12, 4, 6), torch.randn(2, 5, 16), torch.tensor([400.0])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (ours(*inputs) - reference(*inputs)).abs().max() < 0.02
    seen: list[torch.dtype] = []
    ours.blocks[0].register_forward_pre_hook(lambda _module, args: seen.append(args[1].positions.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        ours(*inputs)
    assert seen == [torch.float32]
