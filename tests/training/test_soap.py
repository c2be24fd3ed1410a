import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.errors import UserError
from aaa.saved.checkpoint import State, load_optimizer, take_snapshot, tensor_bytes, write_checkpoint
from aaa.training import fitting
from aaa.training.fitting import measure_footprint
from aaa.training.optimizers import state_to_come
from aaa.training.soap import soap
from tests.helpers.composed_model import compose_model, random_step

SOAP = (
    *("model.dim=32", "model.depth=1", "model.heads=2", "optimizer=soap"),
    *("optimizer.decayed=matrices", "optimizer.precondition_every_steps=2"),
)


def test_its_first_step_is_a_sign_in_the_eigenbasis_of_the_gradient_before() -> None:
    weight = nn.Parameter(torch.zeros(5, 3))
    optimizer = soap([("weight", weight)], 1e-2, 0.0, [0.9, 0.95], 10, 100)
    torch.manual_seed(0)
    looked_at, gradient = torch.randn(2, 5, 3)
    for grad in (looked_at, gradient):
        weight.grad = grad.clone()
        optimizer.step()
    rows = torch.linalg.eigh(looked_at @ looked_at.T)[1]
    columns = torch.linalg.eigh(looked_at.T @ looked_at)[1]
    # Two of the five directions of the rows have no eigenvalue: which vectors they get is not told by the gradient.
    rotated = rows[:, 2:].T @ gradient @ columns
    taken = rows[:, 2:].T @ weight.detach() @ columns
    torch.testing.assert_close(taken, -1e-2 * rotated.sign(), atol=1e-5, rtol=1e-3)


def test_its_moments_have_the_memories_that_it_is_told() -> None:
    (group,) = soap([("weight", nn.Parameter(torch.zeros(2, 2)))], 1e-2, 0.1, [0.8, 0.97], 7, 50).param_groups
    told = {"betas": (0.8, 0.97), "lr": 1e-2, "weight_decay": 0.1, "precondition_frequency": 7}
    assert {key: group[key] for key in told} == told


def test_it_goes_on_from_its_checkpoint_to_the_bit(tmp_path: Path) -> None:
    model, optimizer = compose_model(*SOAP)
    for seed in range(5):
        random_step(model, optimizer, seed)
    written = write_checkpoint(tmp_path, take_snapshot(State(5, 0.0, "", 0), model, None, optimizer, {}))
    other, resumed = compose_model(*SOAP)
    other.load_state_dict(model.state_dict())
    load_optimizer(written, resumed)
    for m, o in ((model, optimizer), (other, resumed)):
        for group in o.param_groups:
            group["lr"] = 1e-3
        for seed in range(5, 9):
            random_step(m, o, seed)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_what_it_will_keep_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = compose_model(*SOAP)
    foretold = state_to_come(optimizer)
    assert foretold > 6 * sum(parameter.nbytes for parameter in model.parameters())
    random_step(model, optimizer, 0)
    states = (optimizer.state[parameter].values() for parameter in model.parameters())
    assert foretold == tensor_bytes([list(values) for values in states])
    assert state_to_come(optimizer) == 0

    def fixed(optimizer: Optimizer | None) -> int:
        def forward(_samples: int) -> Tensor:
            return torch.stack([parameter.sum() for parameter in model.parameters()]).sum()

        return measure_footprint(forward, model, torch.device("cpu"), optimizer=optimizer).fixed

    monkeypatch.setattr(fitting, "held_memory", lambda _: 0)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    _, fresh = compose_model(*SOAP)
    assert fixed(fresh) - fixed(None) == foretold - 2 * weights


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(UserError, match=r'pytorch_optimizer is not installed: pip install -e "\.\[optimizers\]"'):
        compose_model(*SOAP)
