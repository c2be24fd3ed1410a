import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

import aaa  # noqa: F401 - before torch, which reads what this sets

MY_PROJECT = Path(__file__).parents[1] / "docs" / "my_project"

# A machine may be busy with other things.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Tests never talk to W&B's servers, whoever is logged in on this machine.
os.environ.setdefault("WANDB_MODE", "offline")
# Nor with those of model hubs.
os.environ["DIFFSYNTH_SKIP_DOWNLOAD"] = "True"
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a GPU are skipped where there is none."""
    of_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not of_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in of_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: torch.cuda.is_available() is false"))


@pytest.fixture(autouse=True)
def _no_accelerator_left() -> Iterator[None]:
    """accelerate keeps one precision for the whole process; the next test may want another."""
    yield
    if "accelerate.state" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def my_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules of docs/my_project be imported, as `PYTHONPATH=.` does there."""
    monkeypatch.setattr(sys, "path", [str(MY_PROJECT), *sys.path])


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of small random pictures with a metadata table."""

    def make(count: int = 6, table: str = "metadata.csv", size: int = 20) -> Path:
        root = tmp_path / "pictures"
        (root / "images").mkdir(parents=True)
        rng = np.random.default_rng(0)
        names = [f"{index:03d}.png" for index in range(count)]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (size, size + 4, 3), dtype=np.uint8)).save(root / "images" / name)
        if table.endswith(".csv"):
            rows = "".join(f'{name},"green, number {index}"\n' for index, name in enumerate(names))
            (root / table).write_text("image,prompt\n" + rows)
        return root

    return make
