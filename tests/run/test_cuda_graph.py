"""What `trainer.cuda_graph=auto` stands for."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from aaa.assembly.parts import build_model, build_objective
from aaa.run import cuda_graph
from aaa.run.cuda_graph import MOST_FLOPS, records_steps
from aaa.run.trial import Trial
from aaa.training.fitting import Footprint
from tests.helpers.composed import compose

GIB = 2**30
SMALL = Footprint(fixed=GIB, per_sample=GIB // 32)


def decided(
    *told: str,
    device: str = "cuda",
    processes: int = 1,
    footprint: Footprint = SMALL,
    samples: int = 32,
    flops: float = 1e9,
    change: Any = None,
) -> bool:
    config = compose(*told, "encoder.prompt_dim=8", "output_dir=x")
    objective = build_objective(config, torch.zeros(3, 8))
    model = build_model(config)
    if change is not None:
        change(model)
    accelerator = SimpleNamespace(num_processes=processes)
    session = SimpleNamespace(device=torch.device(device), accelerator=accelerator)
    trial = cast(Trial, SimpleNamespace(session=session, model=model, objective=objective))
    return records_steps(config, trial, footprint, samples, int(flops))


@pytest.fixture(autouse=True)
def eight_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "total_memory", lambda _: 8 * GIB)


def test_a_small_model_on_a_gpu_is_recorded_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert decided()
    assert "trainer.cuda_graph=false" in caplog.text


@pytest.mark.parametrize(
    "what",
    [
        {"device": "cpu"},
        {"processes": 2},
        {"flops": 1.1 * MOST_FLOPS / 32},
        {"footprint": Footprint(fixed=GIB, per_sample=GIB // 8)},  # which fits, and not twice
        {"change": lambda model: model.add_module("own", Own())},
        {"change": lambda model: model.proj_out.bfloat16()},
    ],
)
def test_it_is_not_where_it_is_not_worth_it_or_something_objects(what: dict[str, Any]) -> None:
    assert not decided(**what)


class Own(torch.nn.Module):
    """A part of somebody's own, which does not say that it may be recorded."""


@pytest.mark.parametrize(
    "told",
    [
        *("trainer.cuda_graph=false", "trainer.precision=bf16_weights", "routing=tread", "budget.seconds=60"),
        "trainer.compile=true",
    ],
)
def test_it_is_not_where_the_config_says_otherwise(told: str) -> None:
    assert not decided(told)


def test_who_insists_is_not_asked_whether_it_is_worth_it() -> None:
    assert decided("trainer.cuda_graph=true", flops=1e15)
