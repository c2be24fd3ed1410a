import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.saved.checkpoint import tensor_bytes
from aaa.training.optimizers import MuonWithAdamW, adamw, state_to_come


def small_dit() -> nn.Module:
    torch.manual_seed(0)
    return build_dit(32, 2, 2, in_channels=12, text_dim=8, init="torch")


def give_gradients(model: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)


def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = small_dit()
    optimizer = MuonWithAdamW(model.named_parameters(), 1e-3, 0.0, 0.95, [0.9, 0.99])
    in_muon = {id(p) for group in optimizer._muon.param_groups for p in group["params"]}
    in_adamw = {id(p) for group in optimizer._adamw.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        is_matrix_in_block = name.startswith("blocks.") and name.endswith("weight")
        assert (id(parameter) in in_muon) == is_matrix_in_block
        assert (id(parameter) in in_adamw) == (not is_matrix_in_block)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_an_optimizer_goes_on_from_its_saved_state(kind: str, tmp_path: object) -> None:
    def make(model: nn.Module) -> torch.optim.Optimizer:
        if kind == "muon":
            return MuonWithAdamW(model.named_parameters(), 1e-2, 0.1, 0.95, [0.9, 0.99])
        return adamw(model.named_parameters(), 1e-2, 0.1, [0.9, 0.99])

    model = small_dit()
    optimizer = make(model)
    for seed in range(3):
        give_gradients(model, seed)
        optimizer.step()
    other = copy.deepcopy(model)
    resumed = make(other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for m, o in ((model, optimizer), (other, resumed)):
        for group in o.param_groups:
            group["lr"] = 5e-3  # reaches every parameter through the shared groups
        give_gradients(m, 9)
        o.step()
        o.zero_grad()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.grad is None


@pytest.mark.parametrize("kind", ["muon", "adamw", "sgd"])
def test_the_room_for_moments_is_known_before_the_first_step(kind: str) -> None:
    model = small_dit()
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "muon": lambda: MuonWithAdamW(model.named_parameters(), 1e-2, 0.1, 0.95, [0.9, 0.99]),
        "adamw": lambda: adamw(model.named_parameters(), 1e-2, 0.1, [0.9, 0.99]),
        "sgd": lambda: torch.optim.SGD(model.parameters(), 1e-2),
    }
    optimizer = makers[kind]()
    foreseen = state_to_come(optimizer)
    give_gradients(model, 0)
    optimizer.step()
    counters = 4 * sum(1 for _ in model.parameters())  # of steps, at most
    assert 0 <= tensor_bytes(optimizer.state_dict()) - foreseen <= counters
    assert state_to_come(optimizer) == 0


def test_the_shared_groups_set_both_learning_rates() -> None:
    model = small_dit()
    before = copy.deepcopy(model.state_dict())
    optimizer = MuonWithAdamW(model.named_parameters(), 1e-2, 0.0, 0.95, [0.9, 0.99])
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    give_gradients(model, 0)
    optimizer.step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_what_adamw_trains_can_have_a_learning_rate_of_its_own() -> None:
    model = small_dit()
    before = copy.deepcopy(model.state_dict())
    optimizer = MuonWithAdamW(model.named_parameters(), 1e-2, 0.0, 0.95, [0.9, 0.99], adamw_learning_rate=1e-3)
    give_gradients(model, 0)
    optimizer.step()
    for name, tensor in model.state_dict().items():
        moved = (tensor - before[name]).abs()
        if name.startswith("blocks.") and name.endswith("weight"):
            # Orthogonal updates are scaled to a root mean square of about 0.2 of the learning rate.
            assert 0.5 * 0.2e-2 < moved.square().mean().sqrt() < 1.5 * 0.2e-2
        else:
            torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), atol=1e-5, rtol=0)  # Adam's first: a sign


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"fused": "halves"}, "whole, parts"), ({"adamw_learning_rate": "1e-3x"}, "must be a number, such as 0.001")],
)
def test_what_muon_cannot_be_told_is_refused(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        MuonWithAdamW(small_dit().named_parameters(), 1e-3, 0.0, 0.95, [0.9, 0.99], **wrong)  # type: ignore[arg-type]
