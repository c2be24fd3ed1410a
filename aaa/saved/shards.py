"""Tensors that are divided over processes, on disk: each process writes what it holds, and any number of them reads.

The folder `shards/` of a checkpoint is one of torch.distributed.checkpoint, of one flat dictionary: `model.NAME`,
`ema.NAME`, and the optimizer's as `optimizer.N` in the order that its state has them. What is not divided is in the
optimizer's own file as ever, with names of tensors where these were.
"""

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.optim import Optimizer

from aaa.data.tensor_files import save_tensors
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, SHARDS
from aaa.training.parameter_groups import optimizers_in, states_by_parameter
from aaa.training.sharding import is_divided

NAMED = "tensor in shards: "  # stands before a name in place of a tensor
OF_MODEL, OF_AVERAGE, OF_OPTIMIZER = "model.", "ema.", "optimizer."


@dataclass(frozen=True)
class Divided:
    """What a checkpoint holds of divided tensors.

    Attributes:
        tensors: by their names in `shards/`.
        optimizer: its state with names in place of them.
    """

    tensors: Mapping[str, Tensor]
    optimizer: Any

    @classmethod
    def of(cls, model: Mapping[str, Tensor], ema: Mapping[str, Tensor] | None, optimizer: Any) -> "Divided":
        """Those of a model, of its average, and of an optimizer, by their state dicts."""
        tensors = {f"{OF_MODEL}{name}": tensor.detach() for name, tensor in model.items()}
        tensors |= {f"{OF_AVERAGE}{name}": tensor.detach() for name, tensor in (ema or {}).items()}
        of_optimizer: list[Tensor] = []
        named = _with_names(optimizer, of_optimizer)
        tensors |= {f"{OF_OPTIMIZER}{number}": tensor for number, tensor in enumerate(of_optimizer)}
        return cls(tensors, named)

    def copied(self) -> "Divided":
        """The same in memory of its own, for training to go on beside."""
        return replace(self, tensors={name: tensor.clone() for name, tensor in self.tensors.items()})


def _with_names(tree: Any, found: list[Tensor]) -> Any:
    """Nested dictionaries and lists with names in place of divided tensors, which are found; others are copied."""
    if isinstance(tree, Tensor):
        if not is_divided(tree):
            return tree.detach().to("cpu", copy=True)
        found.append(tree.detach())
        return f"{NAMED}{OF_OPTIMIZER}{len(found) - 1}"
    if isinstance(tree, Mapping):
        return {key: _with_names(value, found) for key, value in tree.items()}
    return [_with_names(value, found) for value in tree] if isinstance(tree, list | tuple) else tree


def write_shards(folder: Path, divided: Divided) -> None:
    """Write the tensors that processes hold; all must call it.

    Raises:
        OSError: if one of them cannot.
    """
    with _readable_failure():
        dcp.save(dict(divided.tensors), storage_writer=dcp.FileSystemWriter(folder))


def start_writing_shards(folder: Path, divided: Divided, processes: dist.ProcessGroup) -> "Future[Any]":
    """The same beside training, which may go on once this returns.

    Args:
        folder: to write.
        divided: is copied to the CPU first, if it is not there.
        processes: all of them, reached by the CPU.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in divided.tensors.values())
    tensors = dict((divided.copied() if on_cpu else divided).tensors)
    writing = dcp.async_save(tensors, storage_writer=dcp.FileSystemWriter(folder), process_group=processes)
    return writing if isinstance(writing, Future) else writing.upload_completion


def finish_writing(writing: "Future[Any]") -> None:
    """Wait until shards are on disk.

    Raises:
        OSError: if one of the processes could not write them.
    """
    with _readable_failure():
        writing.result()


def write_whole_weights(checkpoint: Path, metadata: Mapping[str, str]) -> None:
    """Write weights and average as one file each, which all that draws reads, from the shards on disk.

    Needs the memory of one of them on the CPU, and no other process.
    """
    for prefix, file in ((OF_MODEL, MODEL), (OF_AVERAGE, AVERAGE)):
        if tensors := _read_whole(checkpoint / SHARDS, prefix):
            save_tensors(tensors, checkpoint / file, metadata)


def _read_whole(folder: Path, prefix: str) -> dict[str, Tensor]:
    wanted = {
        name: torch.empty(size.size, dtype=size.properties.dtype)
        for name, size in _listed(folder).items()
        if name.startswith(prefix)
    }
    _read(folder, wanted, alone=True)
    return {name.removeprefix(prefix): tensor for name, tensor in wanted.items()}


def load_weights_from_shards(checkpoint: Path, model: nn.Module, average: nn.Module | None) -> None:
    """Load a model and its average, divided in whatever way or whole; all processes must call it."""
    models = {OF_MODEL: model} | ({} if average is None else {OF_AVERAGE: average})
    tensors = {
        f"{prefix}{name}": tensor.detach() for prefix, of in models.items() for name, tensor in of.state_dict().items()
    }
    _read(checkpoint / SHARDS, tensors)


@contextmanager
def fetching(optimizer: Optimizer, checkpoint: Path) -> Iterator[None]:
    """A block in which an optimizer's `load_state_dict` fetches the tensors that it is given names of.

    An optimizer that combines others passes on to each what is its own.
    """

    def fetch(part: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        return _fetch(part, state_dict, checkpoint / SHARDS)

    hooks = [part.register_load_state_dict_pre_hook(fetch) for part in optimizers_in(optimizer)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fetch(optimizer: Optimizer, state_dict: dict[str, Any], folder: Path) -> dict[str, Any]:
    sizes = _listed(folder)
    whole, wanted = dict(state_dict["state"]), dict[str, Tensor]()
    for number, parameter, state in states_by_parameter(optimizer, state_dict):
        whole[number] = dict(state)
        for key, value in state.items():
            if isinstance(value, str) and value.startswith(NAMED):
                name = value.removeprefix(NAMED)
                if sizes[name].size != parameter.shape:
                    raise ValueError(f"{key} of shape {tuple(sizes[name].size)} for one of {tuple(parameter.shape)}")
                whole[number][key] = wanted[name] = torch.empty_like(
                    parameter.detach(), dtype=sizes[name].properties.dtype
                )
    _read(folder, wanted)
    return {**state_dict, "state": whole}


def _listed(folder: Path) -> dict[str, TensorStorageMetadata]:
    """What tensors there are, with sizes and dtypes."""
    listed = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    return {name: of for name, of in listed.items() if isinstance(of, TensorStorageMetadata)}


def _read(folder: Path, tensors: dict[str, Tensor], *, alone: bool = False) -> None:
    """Fill tensors, with the other processes of a run or alone."""
    # torch warns that one process reads by itself, which is what is meant.
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
    with _readable_failure():
        dcp.load(tensors, storage_reader=dcp.FileSystemReader(folder), no_dist=alone)


@contextmanager
def _readable_failure() -> Iterator[None]:
    """torch raises what no `except Exception` catches, with an error for each process."""
    try:
        yield
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise OSError(f"{type(first).__name__}: {first}") from error
