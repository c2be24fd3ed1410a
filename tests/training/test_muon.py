import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aaa.training.muon import BatchedMuon
from aaa.training.optimizers import MuonWithAdamW


def test_batched_muon_takes_torchs_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaa.training.orthogonal.multiplies_bf16", lambda _device: True)  # as torch's own always does
    shapes = [(8, 8), (24, 8), (8, 24), (8, 8), (16, 8)]
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = copy.deepcopy(ours)
    batched = BatchedMuon(ours, lr=1e-2, weight_decay=0.1, momentum=0.9)
    reference = torch.optim.Muon(theirs, lr=1e-2, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for seed in range(4):
        torch.manual_seed(seed)
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        batched.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        # Newton-Schulz runs in bf16, where stacking may round otherwise.
        torch.testing.assert_close(mine, other, atol=2e-4, rtol=1e-3)


@settings(max_examples=10, deadline=None)
@given(parts=st.integers(1, 4), rows=st.integers(2, 12), columns=st.integers(2, 12), seed=st.integers(0, 99))
def test_a_weight_that_stacks_matrices_takes_the_steps_of_each_alone(
    parts: int, rows: int, columns: int, seed: int
) -> None:
    torch.manual_seed(seed)
    fused = nn.Parameter(torch.randn(parts * rows, columns))
    alone = [nn.Parameter(fused[part * rows : (part + 1) * rows].detach().clone()) for part in range(parts)]
    together = BatchedMuon([fused], lr=1e-2, weight_decay=0.1, momentum=0.9)
    together.stacked = {fused: parts}
    separate = BatchedMuon(alone, lr=1e-2, weight_decay=0.1, momentum=0.9)
    for _ in range(3):
        fused.grad = torch.randn_like(fused)
        for part, parameter in enumerate(alone):
            parameter.grad = fused.grad[part * rows : (part + 1) * rows].clone()
        together.step()
        separate.step()
    assert torch.equal(fused.detach(), torch.cat([parameter.detach() for parameter in alone]))


def updates_of(fused: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(8, 16), nn.Linear(8, 16)]), "out": nn.Linear(8, 4)})
    before = copy.deepcopy(model.state_dict())
    optimizer = MuonWithAdamW(model.named_parameters(), 1e-2, 0.0, 0.9, [0.9, 0.99], fused=fused)
    optimizer.know_fused_matrices({"blocks.1.weight": 2, "out.weight": 2})
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return {name: (tensor - before[name]) / 1e-2 for name, tensor in model.state_dict().items()}


def test_only_what_is_fused_is_taken_apart_and_only_if_it_is_to_be() -> None:
    whole, parts = updates_of("whole"), updates_of("parts")
    assert {name for name in whole if not torch.equal(whole[name], parts[name])} == {"blocks.1.weight"}
    for half in parts["blocks.1.weight"].chunk(2):
        values = torch.linalg.svdvals(half) / (0.2 * 8**0.5)  # of an 8 x 8 matrix that is orthogonal, roughly
        assert values.max() < 1.3
    values = torch.linalg.svdvals(whole["blocks.1.weight"]) / (0.2 * 16**0.5)
    assert values.min() > 0.5


def test_rows_that_are_not_as_many_matrices_are_refused() -> None:
    model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(8, 9)]), "out": nn.Linear(8, 4)})
    optimizer = MuonWithAdamW(model.named_parameters(), 1e-2, 0.0, 0.9, [0.9, 0.99], fused="parts")
    with pytest.raises(ValueError, match=r"blocks.0.weight has 9 rows, which are not 2 matrices"):
        optimizer.know_fused_matrices({"blocks.0.weight": 2})
