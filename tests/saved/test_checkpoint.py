import json
import math
import random
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from aaa.errors import UserError
from aaa.saved.checkpoint import (
    Snapshot,
    State,
    load_optimizer,
    load_state,
    load_weights,
    remove_unfinished,
    take_snapshot,
    write_checkpoint,
)
from aaa.saved.checkpoint_folders import newest_whole
from aaa.saved.checkpoint_keeper import CheckpointKeeper, Keep, require_space
from aaa.training.progress import UnloggedNumbers


def snapshot(step: int, model: nn.Linear, **metrics: float) -> Snapshot:
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, model.in_features)).sum().backward()
    optimizer.step()
    state = State(step=step, seconds=1.5, cache_fingerprint="abc", ema_updates=step, metrics=metrics)
    return take_snapshot(state, model, model, optimizer, {"step": str(step)})


def saved(folder: Path, step: int, model: nn.Linear) -> Path:
    return write_checkpoint(folder / "checkpoints", snapshot(step, model))


def test_a_checkpoint_holds_everything_under_its_step(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    path = saved(tmp_path, 500, model)
    assert path == tmp_path / "checkpoints" / "step-00000500"
    assert {file.name for file in path.iterdir()} == {
        "model.safetensors",
        "settings.json",
        "ema.safetensors",
        "optimizer.pt",
        "state.json",
        "manifest.json",
    }
    assert load_state(path) == State(500, 1.5, "abc", 500)
    with safe_open(path / "model.safetensors", "pt") as weights:
        assert weights.metadata() == {"step": "500"}
    other = nn.Linear(3, 2)
    load_weights(path / "model.safetensors", other)
    assert torch.equal(other.weight, model.weight)


def test_a_state_with_numbers_that_are_not_finite_is_json_and_comes_back(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    unlogged = UnloggedNumbers([7], [math.nan], [math.inf], 1, terms={"align": [-math.inf]})
    state = State(7, 1.5, "abc", 7, metrics={"val/loss": math.nan}, unlogged=unlogged)
    path = write_checkpoint(tmp_path, replace(snapshot(7, nn.Linear(3, 2)), state=state))
    json.loads((path / "state.json").read_text(), parse_constant=refuse)
    assert repr(load_state(path)) == repr(state)  # no NaN is the same as another


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert newest_whole(tmp_path) is None
    for step in (9, 100, 20):
        saved(tmp_path, step, nn.Linear(3, 2))
    (tmp_path / "checkpoints" / ".step-00000500").mkdir()  # being written when the process died
    newest = newest_whole(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000100"
    remove_unfinished(tmp_path / "checkpoints")
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000009",
        "step-00000020",
        "step-00000100",
    ]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("manifest.json", None, "manifest.json is missing"),
        ("manifest.json", lambda content: content[:20], "manifest.json is damaged"),
        ("manifest.json", lambda _: b"[1]", "manifest.json is damaged"),
        ("optimizer.pt", None, "optimizer.pt is missing"),
        ("optimizer.pt", lambda content: content[:-1], r"optimizer.pt has \d+ bytes instead of \d+"),
        ("model.safetensors", flip, r"model.safetensors is not what was written \(its SHA-256 differs\)"),
        ("state.json", lambda content: content.replace(b"1.5", b"2.5"), "state.json is not what was written"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, change: Callable[[bytes], bytes] | None, problem: str
) -> None:
    before, newest = saved(tmp_path, 1, nn.Linear(3, 2)), saved(tmp_path, 2, nn.Linear(3, 2))
    damaged = newest / file
    if change is None:
        damaged.unlink()
    else:
        damaged.write_bytes(change(damaged.read_bytes()))
    assert newest_whole(tmp_path) == before
    assert re.search(f"step-00000002 is damaged: {problem}", caplog.text), caplog.text
    (before / "state.json").unlink()
    with pytest.raises(UserError, match="none of its 2 checkpoints is whole"):
        newest_whole(tmp_path)


@given(
    steps=st.sets(st.integers(1, 60), max_size=12),
    last=st.none() | st.integers(1, 5),
    best=st.integers(0, 3),
    every=st.sampled_from([0, 10]),
    higher=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_last_the_best_and_the_regular_checkpoints_are_kept(
    steps: set[int], last: int | None, best: int, every: int, higher: bool, seed: int
) -> None:
    draws = random.Random(seed)
    metrics = {step: {"val/loss": draws.random()} if draws.random() < 0.7 else {} for step in steps}
    kept = steps - Keep(last, best, "val/loss", higher, every).to_delete(metrics)
    if last is None:
        assert kept == steps
        return
    assert set(sorted(steps)[-last:]) <= kept
    assert {step for step in steps if every and step % every == 0} <= kept
    losses = sorted((metrics[step]["val/loss"] for step in steps if metrics[step]), reverse=higher)[:best]
    assert set(losses) <= {metrics[step].get("val/loss") for step in kept}
    assert len(kept) <= last + best + (6 if every else 0)


def test_checkpoints_that_have_had_their_day_are_deleted(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(last=2, best=1), in_background=True)
    for step, loss in ((1, 0.5), (2, 0.1), (3, 0.4), (4, 0.3), (5, 0.2)):
        keeper.save(snapshot(step, nn.Linear(3, 2), **{"val/loss": loss}), wait=False)
    keeper.close()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000002",
        "step-00000004",
        "step-00000005",
    ]


def test_a_damaged_checkpoint_of_a_later_step_is_not_kept_in_place_of_a_whole_one(tmp_path: Path) -> None:
    for step in (400, 500):
        saved(tmp_path, step, nn.Linear(3, 2))
    weights = tmp_path / "checkpoints" / "step-00000500" / "model.safetensors"
    weights.write_bytes(flip(weights.read_bytes()))
    keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(last=1), in_background=False)
    for step in (437, 450):  # of the run that went on from step 400
        keeper.save(snapshot(step, nn.Linear(3, 2)), wait=True)
        newest = newest_whole(tmp_path)
        assert newest is not None
        assert newest.name == f"step-{step:08d}"
    assert not (tmp_path / "checkpoints" / "step-00000437").exists()


def test_training_may_go_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    model = nn.Linear(300, 200)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moment = optimizer.state[model.weight]["exp_avg"].clone()
    keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(), in_background=True)
    keeper.save(take_snapshot(State(1, 0.0, "abc", 0), model, None, optimizer, {}), wait=False)
    for _ in range(3):
        optimizer.step()
    keeper.wait()
    checkpoint = newest_whole(tmp_path)
    assert checkpoint is not None
    assert all(
        torch.equal(before[name], tensor) for name, tensor in load_file(checkpoint / "model.safetensors").items()
    )
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    assert torch.equal(state["state"][1 if state["state"][0]["exp_avg"].ndim == 1 else 0]["exp_avg"], moment)


def test_a_checkpoint_that_cannot_be_written_fails_the_run_and_leaves_the_others(tmp_path: Path) -> None:
    earlier = saved(tmp_path, 1, nn.Linear(3, 2))
    keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(), in_background=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    try:
        keeper.save(snapshot(2, nn.Linear(300, 200)), wait=False)
        with pytest.raises(UserError, match=r"step-00000002: cannot be written .* It takes 0\.00 GiB; the disk has"):
            keeper.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    keeper.close()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [earlier.name]
    assert newest_whole(tmp_path) == earlier


def test_a_disk_that_takes_no_checkpoint_is_refused_at_once(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(UserError, match=r"GiB free, and one checkpoint takes 1073741824\.00 GiB"):
        require_space(tmp_path, 2**60)


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


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        torch.ones(2),
        {"state": {}, "param_groups": 3},
        {"state": {}, "param_groups": [1]},
        {"state": 3, "param_groups": [{"params": [0, 1]}]},
    ],
)
def test_what_is_no_optimizers_state_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "optimizer.pt")
    with pytest.raises(UserError, match=r"optimizer\.pt: not the state of the configured optimizer"):
        load_optimizer(tmp_path, torch.optim.AdamW(nn.Linear(3, 2).parameters()))


@pytest.mark.parametrize("keep", [0, 1, 100, 1000])
def test_half_an_optimizers_state_is_refused(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path, 1, nn.Linear(3, 2))
    whole = (path / "optimizer.pt").read_bytes()
    (path / "optimizer.pt").write_bytes(whole[:keep])
    with pytest.raises(UserError, match=r"optimizer\.pt: not the state of the configured optimizer"):
        load_optimizer(path, torch.optim.AdamW(nn.Linear(3, 2).parameters()))


def test_a_resumed_optimizer_keeps_the_numbers_of_the_config(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    path = saved(tmp_path, 1, model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.25)
    load_optimizer(path, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert optimizer.state[model.weight]["step"] == 1
