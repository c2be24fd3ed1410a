"""Weights divided over processes: each holds some rows of every parameter, and a block is whole only while it is run.

That is ZeRO's third stage (Rajbhandari et al. 2020, 1910.02054) as torch's `fully_shard` has it (FSDP2; its first form:
Zhao et al. 2023, 2304.11277). It is asked for directly: accelerate passes it on to GPUs only, and only to optimizers
whose parameters it may exchange behind their backs, which one that combines two, such as Muon with AdamW, does not see.

Gradients are averaged over all processes as without; what is computed from the weights is the same but for the order of
sums. Nothing here knows what a model is for.
"""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from aaa.errors import UserError
from aaa.training.parameter_groups import optimizers_in, states_by_parameter

REPLICATE, SHARD = "replicate", "shard"  # axes of the processes


@runtime_checkable
class SaysWhatIsGathered(Protocol):
    """A model that can be divided over processes piece by piece."""

    def gathered_parts(self) -> Sequence[nn.Module]:
        """Modules that are called one after the other, each of which is whole only then; no two share anything."""
        ...


def make_mesh(parallel: str, device_type: str, processes: int, shard_processes: int) -> DeviceMesh | None:
    """How processes divide a model, or None where each has all of it.

    Args:
        parallel: `ddp`, `fsdp` (over all processes) or `hsdp` (over some, of which there are several such groups).
        device_type: `cpu` or `cuda`.
        processes: in all.
        shard_processes: that share one copy of the weights with `hsdp`: neighbours by rank.

    Raises:
        UserError: if processes cannot be grouped so.
    """
    if parallel == "ddp" or processes == 1:
        return None
    if parallel == "fsdp":
        return init_device_mesh(device_type, (processes,), mesh_dim_names=(SHARD,))
    if processes % shard_processes or shard_processes in (1, processes):
        raise UserError(
            f"trainer.shard_processes={shard_processes}: trainer.parallel=hsdp needs several groups of so many "
            f"processes, at least two in each, and there are {processes} processes. To divide the weights over all of "
            "them: trainer.parallel=fsdp"
        )
    shape = (processes // shard_processes, shard_processes)
    return init_device_mesh(device_type, shape, mesh_dim_names=(REPLICATE, SHARD))


def shard(model: nn.Module, mesh: DeviceMesh, computed_in: torch.dtype) -> None:
    """Divide a model in place; its parameters are others from here on, each with the rows of this process.

    Blocks are gathered in the precision that products are computed in, which is what autocast would round them to, and
    their gradients are averaged in that of the weights.

    Args:
        model: on the CPU or on the mesh's device; moved there piece by piece.
        mesh: of the processes.
        computed_in: of matrix products.
    """
    # A DiT's output is a view; what FSDP warns of is changing it in place, which no objective does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    stored = next(model.parameters()).dtype
    rounded = MixedPrecisionPolicy()
    if computed_in != stored:
        rounded = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=stored, cast_forward_inputs=False)
    for part in model.gathered_parts() if isinstance(model, SaysWhatIsGathered) else ():
        fully_shard(part, mesh=mesh, mp_policy=rounded)
    fully_shard(model, mesh=mesh)


def is_divided(tensor: Tensor) -> bool:
    """Whether processes hold a part each of a tensor."""
    return isinstance(tensor, DTensor)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's parameters are divided over processes."""
    return any(map(is_divided, model.parameters()))


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: its own memory, all of it where nothing is divided."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def local_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of these tensors that this process holds."""
    return sum(local(tensor).nbytes for tensor in tensors)


def gathered_bytes(model: nn.Module) -> int:
    """Bytes that running a divided model takes besides its shards, at most; 0 for one that is not divided.

    What belongs to no block is whole from the forward to the end of the backward pass; besides it there are two blocks,
    of which one is fetched ahead, and the gradients of one.
    """
    if not is_sharded(model):
        return 0
    parts = model.gathered_parts() if isinstance(model, SaysWhatIsGathered) else ()
    blocks = [sum(parameter.nbytes for parameter in part.parameters()) for part in parts]
    rest = sum(parameter.nbytes for parameter in model.parameters()) - sum(blocks)
    return 2 * rest + 3 * max(blocks, default=0)


def give_back_gathered(model: nn.Module) -> None:
    """Let go of what a forward pass without a backward pass leaves whole; a model that is not divided stays as it is.

    Processes of which one has let go of it already, as `state_dict` does, would wait for each other for ever.
    """
    if isinstance(model, FSDPModule):
        model.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the rows of all processes, in each of them; they must all ask. Others are what they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, example: Tensor) -> Tensor:
    """Of a whole tensor that all processes have what this one is to hold, divided as `example` is."""
    if not isinstance(example, DTensor):
        return tensor
    moved = tensor.to(example.device)
    return distribute_tensor(moved, example.device_mesh, example.placements, src_data_rank=None)


def divide_loaded_state(optimizer: Optimizer) -> None:
    """Let an optimizer's `load_state_dict` take the state of one whose parameters were whole, and keep its own rows."""
    for part in optimizers_in(optimizer):
        part.register_load_state_dict_pre_hook(_divide)


def _divide(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """A state dict of whole tensors with those of a parameter's shape divided as that is."""
    divided = {
        number: {name: _like(value, parameter) for name, value in state.items()}
        for number, parameter, state in states_by_parameter(optimizer, state_dict)
    }
    return {**state_dict, "state": state_dict["state"] | divided}


def _like(value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, Tensor) or is_divided(value) or value.shape != parameter.shape:
        return value
    return shard_like(value, parameter)


def shard_group(tensors: Iterable[Tensor]) -> dist.ProcessGroup | None:
    """The processes that divide these tensors among them; None where no tensor is divided."""
    for tensor in tensors:
        if isinstance(tensor, DTensor):
            mesh = tensor.device_mesh
            return mesh.get_group(SHARD) if mesh.ndim > 1 else mesh.get_group()
    return None


def without_weights(model: nn.Module) -> nn.Module:
    """A copy with everything but the weights' numbers, which takes no memory: its parameters are on `meta`.

    Args:
        model: not divided yet.
    """
    known = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, known)


def place_buffers(model: nn.Module, device: torch.device) -> None:
    """Move what a model holds besides its weights."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))


def divided_copy(hollow: nn.Module, model: nn.Module) -> None:
    """Give a copy that has no weights yet those of a divided model, divided in the same way, in the copy's dtypes."""
    dtypes = {name: tensor.dtype for name, tensor in hollow.state_dict().items()}
    weights = {name: tensor.detach().to(dtypes[name], copy=True) for name, tensor in model.state_dict().items()}
    hollow.load_state_dict(weights, assign=True)


class WholeCopies:
    """Models to draw and to be judged with, whose weights are those of others while they are looked at.

    They are whole where the others are divided: that takes the memory of all weights once for each model, in every
    process, as each looks at its share. They have the dtypes that models are run in where the others are more precise.

    Args:
        hollow: copies without weights, by name, on their device but for those, in their dtypes.

    Attributes:
        models: the copies. Outside `gather` they have no weights.
    """

    def __init__(self, hollow: Mapping[str, nn.Module]) -> None:
        self.models = dict(hollow)
        self._hollow = {name: model.state_dict() for name, model in hollow.items()}

    def gather(self, originals: Mapping[str, nn.Module]) -> None:
        """Fetch the weights; every process must call it.

        Args:
            originals: what the copies are copies of, by name.
        """
        for name, copied in self.models.items():
            weights = {
                key: whole(tensor.detach()).to(self._hollow[name][key].dtype)
                for key, tensor in originals[name].state_dict().items()
            }
            copied.load_state_dict(weights, assign=True)

    def clear(self) -> None:
        """Give their memory back."""
        for name, copied in self.models.items():
            copied.load_state_dict(self._hollow[name], assign=True)
