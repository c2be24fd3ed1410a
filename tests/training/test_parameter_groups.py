import copy

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.parts import build_model, build_optimizer
from aaa.errors import UserError
from aaa.training.parameter_groups import learning_rates, regroup
from tests.helpers.composed import compose
from tests.helpers.composed_model import compose_model, random_step

SMALL = ("model.dim=32", "model.depth=2", "model.heads=2", "encoder.latent_channels=12")
# Of a block of AAADiT, and of all around the blocks.
MATRICES = {f"blocks.{n}.{name}.weight" for n in (0, 1) for name in ("to_q", "to_k", "to_v", "to_out", "to_gate")}
MATRICES |= {f"blocks.{n}.ff.{layer}.weight" for n in (0, 1) for layer in (0, 2)}
MATRICES |= {f"timestep_embedder.timestep_embedder.{layer}.weight" for layer in (0, 2)}
MATRICES |= {"image_embedder.0.weight", "text_embedder.0.weight", "proj_out.weight"}


def decayed(model: nn.Module, optimizer: Optimizer) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    grouped = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(names.values())  # each is in one group
    return {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_by_default_all_is_decayed_in_the_groups_that_there_always_were(kind: str) -> None:
    model, optimizer = compose_model(*SMALL, f"optimizer={kind}")
    assert decayed(model, optimizer) == {name for name, _ in model.named_parameters()}
    assert len(optimizer.param_groups) == (2 if kind == "muon" else 1)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_decay_can_be_kept_to_matrices(kind: str) -> None:
    model, optimizer = compose_model(*SMALL, f"optimizer={kind}", "optimizer.decayed=matrices")
    assert decayed(model, optimizer) == MATRICES
    before = copy.deepcopy(model.state_dict())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, tensor in model.state_dict().items():
        smaller = not torch.equal(tensor, before[name])
        assert smaller == (name in MATRICES and bool(before[name].any())), name


def test_decay_of_any_optimizer_can_be_kept_to_matrices() -> None:
    config = compose(*SMALL)
    config.optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1, "weight_decay": 0.1, "decayed": "matrices"}
    model = build_model(config)
    assert decayed(model, build_optimizer(config, model)) == MATRICES


def test_what_cannot_be_decayed_is_refused() -> None:
    with pytest.raises(UserError, match=r"optimizer.decayed=some: must be one of all, matrices"):
        compose_model(*SMALL, "optimizer.decayed=some")
    config = compose(*SMALL)
    config.optimizer = {"_target_": "torch.optim.LBFGS", "decayed": "matrices"}
    with pytest.raises(UserError, match="LBFGS cannot be made: it has no weight_decay"):
        build_optimizer(config, build_model(config))


def test_regrouped_parameters_keep_their_options_and_their_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.named_parameters(), lr=1.0, momentum=0.5)
    rates = {"0.weight": 2.0, "1.bias": 2.0, "1.weight": 3.0}
    changed = {name: {"lr": rate} for name, rate in rates.items()}
    regroup(optimizer, model.named_parameters(), lambda _optimizer, name, _group: changed.get(name, {}))
    found = {tuple(group["param_names"]): (group["lr"], group["momentum"]) for group in optimizer.param_groups}
    assert found == {("0.weight", "1.bias"): (2.0, 0.5), ("0.bias",): (1.0, 0.5), ("1.weight",): (3.0, 0.5)}


def test_rates_are_logged_by_the_names_of_groups() -> None:
    assert learning_rates(compose_model(*SMALL)[1]) == {"train/lr": 5e-3}
    assert learning_rates(compose_model(*SMALL, "optimizer.adamw_learning_rate=1e-3")[1]) == {
        "train/lr": 5e-3,
        "train/lr_adamw": 1e-3,
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer=muon", "optimizer.decayed=matrices", "optimizer.fused=parts", "optimizer.adamw_learning_rate=1e-3"),
        ("optimizer=adamw", "optimizer.decayed=matrices"),
    ],
)
def test_an_optimizer_of_several_groups_goes_on_from_its_saved_state(overrides: tuple[str, ...]) -> None:
    model, optimizer = compose_model(*SMALL, *overrides)
    for seed in range(3):
        random_step(model, optimizer, seed)
    other, resumed = compose_model(*SMALL, *overrides)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for m, o in ((model, optimizer), (other, resumed)):
        random_step(m, o, 9)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
