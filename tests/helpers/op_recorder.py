"""CUDA graphs without CUDA: the operations of a piece of work are written down, and done again on the same memory.

As in a graph, whatever Python decided is decided for good, numbers included, and nobody may look at a value midway.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Operation = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]


class _Writing(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, result))
        return result


class OpRecorder:
    """A `GraphRecorder` for tensors on any device.

    Recording does the work once, as nothing else tells what it is: what it wrote is put back afterwards.

    Args:
        state: all that the work changes and that is there before it.
    """

    def __init__(self, state: Callable[[], Sequence[Tensor]]) -> None:
        self.state, self.recorded = state, 0

    def apart(self) -> AbstractContextManager[None]:
        return nullcontext()

    def __call__(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        before = [tensor.detach().clone() for tensor in self.state()]
        states = [generator.get_state() for generator in generators]
        with _Writing() as writing:
            work()
        for tensor, kept in zip(self.state(), before, strict=True):
            tensor.detach().copy_(kept)
        for generator, kept in zip(generators, states, strict=True):
            generator.set_state(kept)
        self.recorded += 1
        return lambda: _again(writing.operations)


@torch.no_grad()
def _again(operations: Sequence[Operation]) -> None:
    for function, args, kwargs, result in operations:
        places = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        made = _tensors(function(*args, **kwargs))
        for tensor, found in zip(_tensors(result), made, strict=True):
            if tensor.untyped_storage().data_ptr() not in places:  # neither written in place nor a view
                tensor.detach().copy_(found)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
