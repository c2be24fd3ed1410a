"""The learning rate of a batch, from that of a batch of another size."""

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from aaa.training.parameter_groups import Change


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
