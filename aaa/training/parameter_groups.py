"""An optimizer's groups of parameters, divided by what is to differ between them, whichever optimizer it is."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.optim import Optimizer

# What a parameter's group is to have that is not as it was, given the optimizer that steps it, its name and its group.
Change = Callable[[Optimizer, str, Mapping[str, Any]], Mapping[str, Any]]

DECAYED = ("all", "matrices")


@runtime_checkable
class Combines(Protocol):
    """An optimizer that is several, whose groups are theirs."""

    @property
    def optimizers(self) -> Sequence[Optimizer]:
        """Each of them."""
        ...

    def share_groups(self) -> None:
        """Take over their groups, which are others now."""
        ...


def optimizers_in(optimizer: Optimizer) -> Sequence[Optimizer]:
    """The optimizers that it combines, or the one that it is."""
    return optimizer.optimizers if isinstance(optimizer, Combines) else [optimizer]


def states_by_parameter(
    optimizer: Optimizer, state_dict: Mapping[str, Any]
) -> Iterator[tuple[Any, nn.Parameter, dict[str, Any]]]:
    """Of a state dict that an optimizer is to load: number of a state, the parameter that it is of, and the state.

    Where the groups are not those of the optimizer it ends with the shorter: torch itself says what is wrong then.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=False):
        if number in state_dict["state"]:
            yield number, parameter, state_dict["state"][number]


def regroup(optimizer: Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]], change: Change) -> None:
    """Give each parameter a group with what `change` says, and one group to those of which it says the same.

    Args:
        optimizer: of these parameters, which has taken no step yet.
        named_parameters: all of its own.
        change: of each parameter; an empty mapping leaves it where it is.
    """
    names = {id(parameter): name for name, parameter in named_parameters}
    for part in optimizers_in(optimizer):
        part.param_groups = [
            new for group in part.param_groups for new in _divided(group, names, partial(change, part))
        ]
    if isinstance(optimizer, Combines):
        optimizer.share_groups()


def _divided(
    group: Mapping[str, Any],
    names: Mapping[int, str],
    change: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    divided: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
    of_each = [key for key in ("params", "param_names") if key in group]
    for place, parameter in enumerate(group["params"]):
        new = change(names[id(parameter)], group)
        own = divided.setdefault(tuple(sorted(new.items())), {**group, **new, **{key: [] for key in of_each}})
        for key in of_each:
            own[key].append(group[key][place])
    return list(divided.values())


def decay_only(decayed: Container[str]) -> Change:
    """No weight decay but for the parameters of these names.

    Raises:
        ValueError: by what it returns, if the optimizer decays no weights.
    """

    def change(_optimizer: Optimizer, name: str, group: Mapping[str, Any]) -> Mapping[str, Any]:
        if "weight_decay" not in group:
            raise ValueError("it has no weight_decay")
        return {} if name in decayed else {"weight_decay": 0.0}

    return change


def rates_by_batch_size(times: float) -> Change:
    """The square root rule (2205.10287): a batch k times as large, at k ** 0.5 times the learning rate.

    It holds for optimizers whose steps are as long however large gradients are, where these are mostly noise. Weight
    decay is k ** 0.5 times too, so that as many samples take the same share of a weight.

    Args:
        times: k, the size of the batch over that at which the rate was found.
    """

    def change(_optimizer: Optimizer, _name: str, group: Mapping[str, Any]) -> Mapping[str, Any]:
        if times == 1:
            return {}
        return {key: group[key] * math.sqrt(times) for key in ("lr", "weight_decay") if key in group}

    return change


def group_rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate of each group by its name; `all` or, where others have a name, `others` for those without."""
    groups = optimizer.param_groups
    unnamed = "others" if any("name" in group for group in groups) else "all"
    return {str(group.get("name", unnamed)): float(group["lr"]) for group in groups}


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The rates that it has now as they are logged: `train/lr`, and `train/lr_NAME` of each group that has a name."""
    rates = {"train/lr": float(optimizer.param_groups[0]["lr"])}
    return rates | {
        f"train/lr_{group['name']}": float(group["lr"]) for group in optimizer.param_groups if "name" in group
    }
