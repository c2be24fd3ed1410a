"""Steps of minutes are told before the first is taken."""

import pytest
import torch

from aaa.run import crawling
from aaa.run.crawling import why_it_crawls
from aaa.training.timing import matmul_rate

CPU = torch.device("cpu")


def test_a_step_of_hours_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawling, "matmul_rate", lambda *_, **__: 1e11)
    told = why_it_crawls(8e14, CPU, torch.float32) or ""
    assert told.startswith("A step is 8e+14 FLOPs, which take this cpu 2 h 13 min or more")
    assert why_it_crawls(5e12, CPU, torch.float32) is None


def test_what_is_quick_anywhere_is_not_measured_and_measuring_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def rate(device: torch.device, dtype: torch.dtype, *, quick: bool) -> float:
        measured.append(matmul_rate(device, dtype, quick=quick))
        return 1e9

    monkeypatch.setattr(crawling, "matmul_rate", rate)
    assert why_it_crawls(1e11, CPU, torch.float32) is None
    assert not measured
    before = torch.get_rng_state()
    assert why_it_crawls(1e12, CPU, torch.float32)
    assert len(measured) == 1
    assert torch.equal(torch.get_rng_state(), before)
