from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from aaa.errors import UserError
from aaa.training.checkpoint import State, load_optimizer, load_state, load_weights, newest_checkpoint, save_checkpoint


def saved(folder: Path, step: int, model: nn.Module) -> Path:
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = State(step=step, seconds=1.5, cache_fingerprint="abc", ema_updates=step)
    return save_checkpoint(folder / "checkpoints", state, model, model, optimizer, {"step": str(step)})


def test_a_checkpoint_holds_everything_under_its_step(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    path = saved(tmp_path, 500, model)
    assert path == tmp_path / "checkpoints" / "step-00000500"
    assert {file.name for file in path.iterdir()} == {
        "model.safetensors",
        "ema.safetensors",
        "optimizer.pt",
        "state.json",
    }
    assert load_state(path) == State(500, 1.5, "abc", 500)
    with safe_open(path / "model.safetensors", "pt") as weights:
        assert weights.metadata() == {"step": "500"}
    other = nn.Linear(3, 2)
    load_weights(path / "model.safetensors", other)
    assert torch.equal(other.weight, model.weight)


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (9, 100, 20):
        saved(tmp_path, step, nn.Linear(3, 2))
    (tmp_path / "checkpoints" / ".step-00000500").mkdir()  # being written when the process died
    (tmp_path / "checkpoints" / "step-00000900").mkdir()  # no state.json: not whole
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000100"


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, nn.Linear(3, 2)) / "model.safetensors"
    with pytest.raises(UserError, match=r"weight: shape \(2, 3\) in the file, \(4, 3\) in the model"):
        load_weights(path, nn.Linear(3, 4))
    with pytest.raises(UserError, match="bias: not in the model"):
        load_weights(path, nn.Linear(3, 2, bias=False))
    with pytest.raises(UserError, match=r"2\.weight: not in the file"):
        load_weights(path, nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)))


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "gone"])
def test_damaged_weights_are_named(tmp_path: Path, damage: str) -> None:
    path = saved(tmp_path, 1, nn.Linear(3, 2)) / "model.safetensors"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-4], "empty": b"", "header": b"\xff" * 8 + content[8:]}[damage])
    with pytest.raises(UserError, match=r"model\.safetensors: (not a whole safetensors file|there is no such file)"):
        load_weights(path, nn.Linear(3, 2))


def test_another_optimizers_state_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, nn.Linear(3, 2))
    with pytest.raises(UserError, match="not the state of the configured optimizer"):
        load_optimizer(path, torch.optim.AdamW(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).parameters()))


def test_a_resumed_optimizer_keeps_the_numbers_of_the_config(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    path = saved(tmp_path, 1, model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.25)
    load_optimizer(path, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert optimizer.state[model.weight]["step"] == 1
