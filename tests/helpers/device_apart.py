"""A device that is not the CPU, on a machine that has none: tensors of torch's `lazy` with shapes and no numbers.

As on a GPU, tensors of two devices do not go together. Unlike there, nobody can look at a number: whoever asks for one,
which on a GPU is waiting for it, gets torch's DataDependentOutputException.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

APART = torch.device("lazy", 0)  # autograd runs on it without asking for streams, which `cuda` has it do


class Waits(TorchDispatchMode):
    """Notes the copies between CPU and device that the CPU waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            places = {leaf.device.type for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)}
            if len(places) > 1 and not _is_not_waited_for(function, args, kwargs):
                self.noted.append(f"{function} of {tuple(args[-1].shape)}")
        return result


def _is_not_waited_for(function: Any, args: Any, kwargs: Any) -> bool:
    if function is torch.ops.aten.copy_.default:
        return bool(kwargs.get("non_blocking", len(args) > 2 and args[2]))
    return bool(kwargs.get("non_blocking"))


class _Draws(torch.Generator):
    """A generator that says it is on the device."""

    device = APART

    def __new__(cls, _device: torch.device | str = "cpu") -> "_Draws":
        return super().__new__(cls)


class Elsewhere(Accelerator):
    """One that places nothing, whose device is the other one."""

    def __init__(self) -> None:
        super().__init__(cpu=True)

    @property
    def device(self) -> torch.device:
        return APART


@contextmanager
def device_apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """A block in which there is the device, and generators and autocast know of it."""
    monkeypatch.setattr(torch, "Generator", _Draws)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _device: False)
    with FakeTensorMode(allow_non_fake_inputs=True), Waits() as waits:
        yield waits


def move(*modules: nn.Module) -> None:
    """Give modules weights on the device, in place; to be called within the block, once."""
    nn.ModuleList(modules).to_empty(device=APART)
