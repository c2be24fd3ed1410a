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
from aaa.training.sharding import make_mesh, without_weights


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
        assert max(alone["grad_norms"]) > 0.5  # so that gradients were clipped
        for way in ways:
            divided = results[f"{way} {optimizer}"]
            for measured, closeness in (("losses", 1e-5), ("grad_norms", 1e-5), ("parts", 1e-4)):
                expected = list(numbers_in(alone[measured]))
                assert list(numbers_in(divided[measured])) == pytest.approx(expected, rel=closeness, abs=1e-6)
            for weights in ("raw", "ema"):
                found, whole = (torch.tensor(list(numbers_in(of[weights]))) for of in (divided, alone))
                torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


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
