"""Groups of parameters with the learning rates that they are to have at their model's size."""

from collections.abc import Mapping
from typing import Any

from torch.optim import AdamW, Muon, Optimizer

from aaa.models.parametrization import Growth
from aaa.training.parameter_groups import Change


def rates_by_growth(grown: Mapping[str, Growth]) -> Change:
    """Each parameter's learning rate and weight decay at the size of its model, from those at the base.

    Args:
        grown: how each parameter of the model has grown, by name; what is trained besides, such as an objective's own
            modules, is as large at every size but for the side that meets the model, and keeps the base's rate.

    Raises:
        ValueError: by what it returns, for an optimizer for which there is no rule.
    """

    at_base = all(growth == Growth(growth.kind) for growth in grown.values())

    def change(optimizer: Optimizer, name: str, group: Mapping[str, Any]) -> Mapping[str, Any]:
        growth = grown.get(name, Growth())
        if isinstance(optimizer, Muon):
            kind, factor = "muon", growth.muon
        elif isinstance(optimizer, AdamW):
            kind, factor = "adamw", growth.adamw
        else:
            raise ValueError(
                "model.parametrization=mup has rules for AdamW and Muon, not "
                f"{type(optimizer).__name__}. model.parametrization=standard takes its rate as it is"
            )
        if factor == 1:
            return {} if at_base else {"name": f"{kind}_base"}
        role = f"{growth.kind}_to_stream" if growth.depth != 1 else growth.kind
        return {
            "lr": group["lr"] * factor,
            "weight_decay": group["weight_decay"] / factor,
            "name": f"{kind}_{role}",
        }

    return change
