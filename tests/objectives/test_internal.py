"""The second head is trained as the first one is."""

import pytest
import torch
from torch import nn

from aaa.data.batch import Batch
from aaa.diffusion.prediction import CleanPrediction, Prediction, VelocityPrediction
from aaa.diffusion.schedulers import LogitNormalScheduler
from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.objectives.flow_matching import FlowMatching
from aaa.objectives.internal import Internal
from tests.helpers.forward_pass import forward_pass


@pytest.mark.parametrize("prediction", [VelocityPrediction(), CleanPrediction()])
def test_a_head_like_the_models_after_the_last_block_has_the_models_error(prediction: Prediction) -> None:
    torch.manual_seed(0)
    model = build_dit(dim=32, depth=2, heads=2, in_channels=4, text_dim=8, init="torch", position_grid=4)
    term = Internal(0.25, after_block=2, dim=32, latent_channels=4)
    assert term.module is not None
    objective = FlowMatching(
        LogitNormalScheduler(), torch.zeros(3, 8), 0.1, prediction, "min_snr", terms={"internal": term}
    )
    batch = Batch.of_strangers(torch.randn(6, 4, 4, 4), torch.randn(6, 3, 8))
    nothing = objective(model, batch, torch.Generator().manual_seed(1), 0)
    term.module.load_state_dict(model.proj_out.state_dict())
    losses = objective(model, batch, torch.Generator().manual_seed(1), 0)
    torch.testing.assert_close(losses["internal"], 0.25 * losses["velocity"])
    torch.testing.assert_close(nothing["velocity"], losses["velocity"])
    assert not torch.allclose(nothing["internal"], losses["internal"])


def test_the_models_own_head_learns_as_the_terms_does() -> None:
    numbers = {"dim": 32, "depth": 3, "heads": 2, "in_channels": 4, "text_dim": 8, "position_grid": 4}
    batch = Batch.of_strangers(torch.randn(6, 4, 4, 4), torch.randn(6, 3, 8))
    found = []
    for block in (None, 2):
        torch.manual_seed(0)
        model = build_dit(**numbers, init="torch", internal_head=block)  # type: ignore[arg-type]
        term = Internal(0.25, after_block=2, dim=32, latent_channels=4, model_head=block)
        assert (term.module is None) == (block == 2)
        head = model.internal_head if term.module is None else term.module
        assert isinstance(head, nn.Linear)
        torch.nn.init.constant_(head.weight, 0.1)
        terms = {"internal": term}
        objective = FlowMatching(LogitNormalScheduler(), torch.zeros(3, 8), 0.0, VelocityPrediction(), terms=terms)
        losses = objective(model, batch, torch.Generator().manual_seed(1), 0)
        sum(losses.values()).sum().backward()  # type: ignore[union-attr]
        found.append((losses, head.weight.grad, model.get_parameter("blocks.0.to_q.weight").grad))
    (own, *gradients), (models, *others) = found
    assert all(torch.equal(own[name], models[name]) for name in ("velocity", "internal"))
    for one, other in zip(gradients, others, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("model_head", [None, 1])
def test_places_that_skipped_the_block_do_not_count(model_head: int | None) -> None:
    hidden = torch.randn(2, 4, 5, requires_grad=True)
    computed = torch.tensor([[True, False, False, True], [False, True, False, False]])
    term = Internal(0.25, after_block=1, dim=5, latent_channels=3, model_head=model_head)
    head = term.module or nn.Linear(5, 3)
    nn.init.constant_(head.get_parameter("weight"), 0.1)
    done = forward_pass(2, hidden={1: hidden}, computed={1: computed})
    internal = None if model_head is None else head(hidden).mT.unflatten(2, (2, 2))
    (gradient,) = torch.autograd.grad(term(done._replace(internal=internal)).sum(), hidden)
    assert torch.equal(gradient.abs().sum(-1) > 0, computed)


def test_a_model_without_a_head_of_its_own_is_told_of() -> None:
    model = build_dit(dim=32, depth=2, heads=2, in_channels=4, text_dim=8)
    terms = {"internal": Internal(0.25, 1, 32, 4, model_head=1)}
    objective = FlowMatching(LogitNormalScheduler(), torch.zeros(3, 8), 0.0, VelocityPrediction(), terms=terms)
    batch = Batch.of_strangers(torch.randn(2, 4, 4, 4), torch.randn(2, 3, 8))
    with pytest.raises(UserError, match=r"objective\.terms\.internal: the model has no internal head"):
        objective(model, batch, torch.Generator().manual_seed(1), 0)


def test_it_teaches_the_blocks_before_it_and_none_after() -> None:
    torch.manual_seed(0)
    model = build_dit(dim=32, depth=2, heads=2, in_channels=4, text_dim=8, init="torch", position_grid=4)
    term = Internal(0.25, after_block=1, dim=32, latent_channels=4)
    assert isinstance(term.module, nn.Linear)
    torch.nn.init.normal_(term.module.weight)
    terms = {"internal": term}
    objective = FlowMatching(LogitNormalScheduler(), torch.zeros(3, 8), 0.0, VelocityPrediction(), terms=terms)
    batch = Batch.of_strangers(torch.randn(6, 4, 4, 4), torch.randn(6, 3, 8))
    objective(model, batch, torch.Generator().manual_seed(1), 0)["internal"].sum().backward()
    assert model.get_parameter("blocks.0.to_q.weight").grad is not None
    assert model.get_parameter("blocks.1.to_q.weight").grad is None
    assert term.module.weight.grad is not None
