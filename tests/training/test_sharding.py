"""Training with weights that are divided over processes is training with whole ones."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aaa.errors import UserError
from aaa.saved.checkpoint import load_optimizer
from aaa.saved.shards import fetching, load_weights_from_shards
from aaa.training.sharding import make_mesh, without_weights
from tests.helpers.divided_training import make_model, make_optimizer


def numbers_in(tree: Any) -> Iterator[float]:
    if isinstance(tree, dict):
        for name in sorted(tree):
            yield from numbers_in(tree[name])
    elif isinstance(tree, list):
        for value in tree:
            yield from numbers_in(value)
    else:
        yield tree


def train_divided(folder: Path, processes: int, steps: int) -> dict[str, Any]:
    out = folder / "results.json"
    command = [sys.executable, "-m", "tests.helpers.divided_training", str(processes), str(out), str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(out.read_text())
    return results


@pytest.mark.parametrize(
    ("processes", "ways", "steps"),
    [(2, ["fsdp"], 6), pytest.param(4, ["fsdp", "hsdp"], 50, marks=pytest.mark.slow)],
)
def test_divided_weights_learn_what_whole_ones_learn(
    tmp_path: Path, processes: int, ways: list[str], steps: int
) -> None:
    results = train_divided(tmp_path, processes, steps)
    for optimizer in ("adamw", "muon"):
        alone = results[f"ddp {optimizer}"]
        assert alone["losses"][-1] < alone["losses"][0]
        assert max(alone["grad_norms"][::2]) > 0.5  # so that gradients were clipped, and others not
        assert max(alone["grad_norms"]) < 100
        for way in ways:
            divided = results[f"{way} {optimizer}"]
            for measured, closeness in (("losses", 1e-5), ("grad_norms", 1e-5), ("parts", 1e-4)):
                expected = list(numbers_in(alone[measured]))
                assert list(numbers_in(divided[measured])) == pytest.approx(expected, rel=closeness, abs=1e-6)
            for weights in ("raw", "ema"):
                found, whole = (torch.tensor(list(numbers_in(of[weights]))) for of in (divided, alone))
                torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
            # All but the positions, a table of a single row.
            assert divided["held"] < alone["held"] * (0.2 + 1 / 2)
            require_same_checkpoint(tmp_path / f"{way} {optimizer}", divided, tmp_path / f"ddp {optimizer}", optimizer)


def require_same_checkpoint(shards: Path, results: dict[str, Any], whole: Path, optimizer_name: str) -> None:
    """What processes wrote is read by one that was none of them, to the bit; the optimizer's state as a whole one's."""
    model, average = make_model(), make_model()
    load_weights_from_shards(shards, model, average)
    for name, of in (("raw", model), ("ema", average)):
        for weight, written in zip(of.parameters(), results[name], strict=True):
            assert torch.equal(weight, torch.tensor(written))
    optimizer, expected = (make_optimizer(optimizer_name, model) for _ in range(2))
    with fetching(optimizer, shards):
        load_optimizer(shards, optimizer)
    load_optimizer(whole, expected)
    found_state, expected_state = optimizer.state_dict(), expected.state_dict()
    assert sum(1 for _ in tensors_in(found_state)) > 2 * len(list(model.parameters()))
    for found, of_whole in zip(tensors_in(found_state), tensors_in(expected_state), strict=True):
        torch.testing.assert_close(found, of_whole, rtol=1e-3, atol=1e-6)


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ():
        yield from tensors_in(value)


def test_processes_that_make_no_groups_are_refused() -> None:
    for processes, group in ((4, 3), (4, 4), (6, 1)):
        with pytest.raises(UserError, match=rf"trainer\.shard_processes={group}: .* there are {processes} processes"):
            make_mesh("hsdp", "cpu", processes, group)
    assert make_mesh("fsdp", "cpu", 1, 1) is None
    assert make_mesh("ddp", "cpu", 8, 8) is None


def test_a_copy_without_weights_takes_them_up() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    hollow = without_weights(model)
    assert all(parameter.is_meta for parameter in hollow.parameters())
    assert not any(parameter.is_meta for parameter in model.parameters())
    hollow.load_state_dict(model.state_dict(), assign=True)
    x = torch.arange(6.0).view(2, 3)
    torch.testing.assert_close(hollow(x), model(x), rtol=0, atol=0)
    assert math.isfinite(model(x).sum().item())
