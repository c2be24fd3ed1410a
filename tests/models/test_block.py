"""A block of one's own, as docs/my_project has one: made, started, counted and recomputed like ours."""

import pytest
import torch
from torch import nn

from aaa.assembly.parts import build_model
from aaa.errors import UserError
from aaa.models.block import BlockContext, DiTBlock
from aaa.models.costs import forward_flops
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.models.routing import Routing
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


class Neighbours(DiTBlock):
    """One of somebody's own, with a layer that is not linear, which says nothing of what it costs."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__(dim, heads, mlp_ratio)
        self.mix = nn.Conv1d(dim, dim, 5, padding=2)

    def forward(self, x: torch.Tensor, context: BlockContext) -> torch.Tensor:
        return super().forward(x + self.mix(x.mT).mT, context)


def test_layers_that_it_does_not_say_the_cost_of_are_counted() -> None:
    model = build_dit(64, 2, 2, in_channels=48, text_dim=128, init="torch", block=Neighbours)
    with counted_flops() as counter, torch.no_grad():
        model(*(tensor[:1] for tensor in inputs()))
    assert forward_flops(model, 4, 6, 5, channels=48, text_dim=128) == counter.get_total_flops()
    routed = build_dit(
        64, 4, 2, in_channels=48, text_dim=128, init="torch", block=Neighbours, routing=Routing(0.5, 2, 3)
    )
    ours = build_dit(64, 4, 2, in_channels=48, text_dim=128, init="torch", routing=Routing(0.5, 2, 3))
    costs = [forward_flops(m, 4, 6, 5, channels=48, text_dim=128) for m in (routed, ours)]
    assert costs[0] > costs[1] + 2 * 64 * 64 * 5 * 2 * 30, "of the blocks that see all 30 tokens, and more"


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

    def forward(self, latents: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return super().forward(latents.mT).mT


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
