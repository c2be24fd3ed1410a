"""A block of one's own, as docs/my_project has one: made, started, counted and recomputed like ours."""

import pytest
import torch
from torch import nn

from aaa.assembly.parts import build_model
from aaa.errors import UserError
from aaa.models.costs import forward_flops
from aaa.models.dit import AAADiT
from aaa.training.recomputing import recompute_activations
from tests.helpers.composed import compose
from tests.helpers.flops import counted_flops

pytestmark = pytest.mark.usefixtures("my_project")
GATED = (
    "model.dim=64",
    "model.depth=3",
    "model.heads=2",
    "encoder=pixel",
    "+model.block={_target_:my_parts.GatedBlock}",
)


def gated(*overrides: str) -> AAADiT:
    torch.manual_seed(0)
    model = build_model(compose(*GATED, *overrides))
    assert isinstance(model, AAADiT)
    return model


def inputs() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return torch.randn(2, 48, 4, 6), torch.randn(2, 5, 128), torch.tensor([10.0, 900.0])


def test_its_flops_are_those_that_torch_counts() -> None:
    model = gated()
    with counted_flops() as counter, torch.no_grad():
        model(*(tensor[:1] for tensor in inputs()))
    assert forward_flops(model, 4, 6, 5, channels=48, text_dim=128) == counter.get_total_flops()


def test_it_starts_as_small_as_ours() -> None:
    block = gated().blocks[0]
    to_hidden, to_out = (block.get_parameter(f"ff.{name}.weight").detach() for name in ("to_hidden", "to_out"))
    bound = (6 / sum(to_out.shape)) ** 0.5  # Xavier's
    assert float(to_out.abs().max()) == pytest.approx(bound / 6**0.5, rel=0.02)
    assert float(to_hidden.abs().max()) == pytest.approx((6 / sum(to_hidden.shape)) ** 0.5, rel=0.02)


def test_it_is_recomputed_in_the_backward_pass() -> None:
    gradients = []
    for recompute in (False, True):
        model = gated("model.init=torch")
        if recompute:
            recompute_activations(model, offload=False)
        model(*inputs()).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


class Plain(nn.Linear):
    """A model that begins as torch's layers do."""

    def __init__(self, in_channels: int, **_: float) -> None:
        super().__init__(in_channels, in_channels)


class Ones(Plain):
    """A model with initial values of its own."""

    def init_weights(self) -> None:
        nn.init.ones_(self.weight)


def test_a_model_of_another_class_draws_its_own_initial_values() -> None:
    made = [
        build_model(compose(f"+model.architecture={{_target_:{__name__}.{name}}}", f"model.init={init}"))
        for name, init in (("Ones", "scaled"), ("Ones", "torch"), ("Plain", "scaled"))
    ]
    assert [bool((model.get_parameter("weight") == 1).all()) for model in made] == [True, False, False]
    with pytest.raises(UserError, match=r"model\.init=nonsense: must be one of scaled, torch"):
        build_model(compose(f"+model.architecture={{_target_:{__name__}.Plain}}", "model.init=nonsense"))
