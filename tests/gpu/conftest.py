"""What a GPU must do as a CPU does: the same bodies on both, so that a mistake in one is found without a GPU."""

import os
from pathlib import Path

import pytest
import torch

from tests.e2e.conftest import Command, run_in

# Read when deterministic routines are first asked for, as a run sets it before.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=["cpu", GPU])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `python -m ...` in a fresh folder, in a process of its own: a forked one cannot use a GPU."""
    return lambda *arguments, **environment: run_in(tmp_path, *arguments, **environment)
