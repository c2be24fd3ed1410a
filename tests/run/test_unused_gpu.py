"""A GPU that a run does not take is told of."""

from pathlib import Path

import pytest
import torch

from aaa.run.unused_gpu import why_unused


def driver(folder: Path, listed: str, code: int = 0) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{listed}'\nexit {code}\n", encoding="utf-8")
    tool.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("cuda", "told"), [(None, "was built without CUDA; docs/gpu.md"), ("12.8", "is built for CUDA 12.8 and cannot")]
)
def test_of_a_gpu_that_torch_cannot_use_it_is_said_why(
    cuda: str | None, told: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(path, "GPU 0: NVIDIA Imagined (UUID: GPU-0)")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert told in (why_unused() or "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert why_unused() is None


def test_where_there_is_no_gpu_nothing_is_said(path: Path) -> None:
    driver(path, "No devices were found", code=6)
    assert why_unused() is None
    (path / "nvidia-smi").write_text("no program", encoding="utf-8")
    assert why_unused() is None


def test_of_a_macs_gpu_its_key_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "trainer.device=mps" in (why_unused() or "")
