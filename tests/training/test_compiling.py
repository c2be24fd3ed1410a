from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aaa.config.checks import check_config
from aaa.errors import UserError
from aaa.run.session import Session
from aaa.training.compiling import compile_model, looking_uncompiled
from tests.helpers.composed import compose


class Doubled(nn.Module):
    """A layer of our own: torch 2.9 compiles none of torch's by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.inner(x)


def noting_backend(for_any: list[bool]) -> Callable[..., Any]:
    """A backend of torch.compile that runs what it is given as it is, and notes whether that is for any size."""

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        for_any.append(any(isinstance(part, torch.SymInt) for part in inputs))
        return graph.forward

    return backend


def compiled_layer(monkeypatch: pytest.MonkeyPatch, how: bool | str) -> tuple[nn.Module, list[bool]]:
    """A layer that is compiled in this way; of each time that the compiler was called, whether for any size."""
    seen: list[bool] = []
    compiling = nn.Module.compile
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # the trial, which needs a C++ compiler

    def instead(self: nn.Module, mode: str | None = None, **told: Any) -> None:
        monkeypatch.undo()
        assert mode == (None if how in (True, "static") else how)
        compiling(self, backend=noting_backend(seen), **told)

    monkeypatch.setattr(nn.Module, "compile", instead)
    layer = Doubled()
    assert compile_model(layer, torch.device("cpu"), how)
    return layer, seen


@pytest.mark.parametrize("how", ["static", "max-autotune-no-cudagraphs"])
def test_a_way_of_one_shape_compiles_each_shape_for_itself(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    layer, seen = compiled_layer(monkeypatch, how)
    for samples in (2, 3, 5, 3):
        torch.testing.assert_close(layer(torch.ones(samples, 4)), layer.forward(torch.ones(samples, 4)))
    assert seen == [False] * 3


def test_compiled_as_ever_a_second_shape_is_compiled_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, seen = compiled_layer(monkeypatch, True)
    for samples in (2, 3, 5, 3):
        layer(torch.ones(samples, 4))
    assert seen == [False, True]


def test_looks_run_uncompiled_and_training_goes_on_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, seen = compiled_layer(monkeypatch, "static")
    layer(torch.ones(2, 4))
    looked = []

    def look(step: int) -> None:
        looked.append(layer(torch.ones(step, 4)).shape)

    for step in (3, 5):
        looking_uncompiled(look)(step)
    layer(torch.ones(2, 4))
    assert looked == [(3, 4), (5, 4)]
    assert len(seen) == 1
    layer(torch.ones(7, 4))
    assert len(seen) == 2


@pytest.mark.parametrize("how", ["reduce-overhead", "max-autotune"])
@pytest.mark.parametrize(
    ("other", "named"),
    [
        ("trainer.device=cpu", "trainer.device is cpu"),
        ("trainer.gradient_accumulation_steps=2", "trainer.gradient_accumulation_steps=2"),
        ("trainer.gradient_checkpointing_offload=true", "trainer.gradient_checkpointing_offload=true"),
    ],
)
def test_cuda_graphs_are_refused_where_they_cannot_be(how: str, other: str, named: str) -> None:
    told = (f"trainer.compile={how}", other, "output_dir=x")
    with pytest.raises(UserError) as refused:
        check_config(compose(*told))
    assert f"trainer.compile={how}" in str(refused.value)
    assert named in str(refused.value)
    for fine in ("true", "static", "max-autotune-no-cudagraphs"):
        check_config(compose(f"trainer.compile={fine}", other, "output_dir=x"))


def test_cuda_graphs_are_refused_on_a_machine_without_cuda() -> None:
    with pytest.raises(UserError, match=r"trainer.compile=reduce-overhead: records CUDA graphs.* is cpu"):
        Session("cpu", "float32", 1, compiled="reduce-overhead")


def test_a_way_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"trainer.compile=quick: must be false, true or one of static"):
        check_config(compose("trainer.compile=quick", "output_dir=x"))
