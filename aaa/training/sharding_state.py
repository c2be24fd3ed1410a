"""The state of an optimizer whose parameters are divided over processes, and that of one whose are not."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from aaa.training.parameter_groups import parts_of, states_by_parameter
from aaa.training.sharding import is_divided, shard_like


def divide_loaded_state(optimizer: Optimizer) -> None:
    """Let an optimizer's `load_state_dict` take the state of one whose parameters were whole, and keep its own rows."""
    for part in parts_of(optimizer):
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
