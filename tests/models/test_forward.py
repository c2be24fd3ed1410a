"""What a model may be asked for besides its prediction: hidden states, and draws that a step can be replayed with."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LogitNormalScheduler
from aaa.errors import UserError
from aaa.models.block import BlockContext, DiTBlock
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.models.forward import (
    DrawsWhileTraining,
    ModelOutput,
    ShowsHidden,
    draws_while_training,
    in_training,
    require_hidden,
    with_hidden,
)
from aaa.objectives.flow_matching import FlowMatching
from aaa.training.recomputing import recompute_activations


class DropoutBlock(DiTBlock):
    """A block that leaves out half of what it would add, another half each time."""

    draws_while_training = True

    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        out = super().forward(x, context)
        if (draws := context.generator(x.device)) is None:
            return out
        return x + (out - x) * torch.randint(2, x.shape, generator=draws, device=x.device)


class Convolution(nn.Conv2d):
    """A model that takes latents, prompts and timestep, and nothing else."""

    def forward(self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:  # type: ignore[override]
        del prompt_embeds, timestep
        return super().forward(latents)


def make_model(block: type[DiTBlock] = DiTBlock) -> AAADiT:
    torch.manual_seed(0)
    return build_dit(dim=32, depth=3, heads=2, in_channels=4, text_dim=8, init="torch", block=block)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    latents, prompt_embeds = (torch.randn(2, *shape, generator=draws) for shape in ((4, 2, 3), (5, 8)))
    return latents, prompt_embeds, torch.tensor([10.0, 900.0])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss(model: nn.Module, seed: int) -> Tensor:
    """Flow matching's for two samples."""
    scheduler = LogitNormalScheduler(mean=0.0, std=1.0)
    objective = FlowMatching(scheduler, torch.zeros(5, 8), 0.0, VelocityPrediction())
    latents, prompt_embeds, _ = inputs()
    return objective(model, Batch.of_strangers(latents, prompt_embeds), seeded(seed), 0)["velocity"]


def test_hidden_states_are_what_the_blocks_hold_of_the_latents() -> None:
    model = make_model()
    held: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: held.append(output))
    output = model(*inputs(), hidden_after=[1, 3])
    assert isinstance(output, ModelOutput)
    assert output.hidden.keys() == {1, 3}
    assert output.hidden[1].shape == (2, 6, 32)
    for number, hidden in output.hidden.items():
        assert torch.equal(hidden, held[number - 1][:, :6])
    assert torch.equal(output.prediction, model(*inputs()))
    output.hidden[1].sum().backward()
    assert model.get_parameter("blocks.0.to_q.weight").grad is not None
    assert model.get_parameter("blocks.1.to_q.weight").grad is None


@pytest.mark.parametrize("recomputed", [False, True])
def test_draws_are_those_of_the_seed_also_when_a_block_is_computed_again(recomputed: bool) -> None:
    plain, model = make_model(DropoutBlock), make_model(DropoutBlock)
    if recomputed:
        recompute_activations(model, offload=False)
    expected = loss(plain, seed=3)
    found = loss(model, seed=3)
    assert torch.equal(found, expected)
    expected.sum().backward()
    found.sum().backward()
    for (name, one), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert one.grad is not None, name
        assert other.grad is not None, name
        assert torch.equal(one.grad, other.grad), name


def test_blocks_draw_differently_and_nothing_without_a_generator() -> None:
    model, ours = make_model(DropoutBlock), make_model()
    model.load_state_dict(ours.state_dict())
    assert torch.equal(model(*inputs()), ours(*inputs()))
    drawn = [model(*inputs(), generator=seeded(seed)) for seed in (0, 1)]
    assert not torch.equal(*drawn)
    nothing = torch.empty(0)
    contexts = [BlockContext(nothing, nothing, 2, 3, seed=0, number=number) for number in (1, 2)]
    first, second = (torch.rand(4, generator=context.generator(torch.device("cpu"))) for context in contexts)
    assert not torch.equal(first, second)


def test_a_model_that_says_nothing_of_itself_is_asked_for_nothing() -> None:
    model = Convolution(4, 4, 1)
    assert not isinstance(model, DrawsWhileTraining | ShowsHidden)
    assert in_training(model, seeded(0)) is model
    assert loss(model, seed=0).shape == (2,)
    assert with_hidden(model, *inputs(), ()).hidden == {}
    with pytest.raises(UserError, match=r"key: model\.architecture .* shows no hidden states"):
        require_hidden(model, [1], "key")


def test_ours_is_asked_for_what_it_has() -> None:
    model = make_model()
    assert not draws_while_training(model)
    assert draws_while_training(make_model(DropoutBlock))
    require_hidden(model, [1, 3], "key")
    assert torch.equal(with_hidden(model, *inputs(), [2]).hidden[2], model(*inputs(), hidden_after=[2]).hidden[2])
    with pytest.raises(UserError, match=r"key=4: must be at least 1 and at most model\.depth=3"):
        require_hidden(model, [4], "key")
    with pytest.raises(ValueError, match="after block 0"):
        model(*inputs(), hidden_after=[0])


def test_hidden_states_pass_through_checkpointing_and_a_wrapper() -> None:
    model = make_model()
    expected = with_hidden(model, *inputs(), [2])
    recompute_activations(model, offload=False)
    found = with_hidden(partial(model, generator=seeded(0)), *inputs(), [2])
    assert torch.equal(found.hidden[2], expected.hidden[2])
    assert torch.equal(found.prediction, expected.prediction)
