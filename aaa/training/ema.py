"""An exponential moving average of the weights, which draws better pictures than the last step's."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose `update_parameters(model)` moves it towards the model's weights.

    The n-th update keeps `min(decay, (1 + n) / (10 + n))` of the old average, so that the first, random weights
    are soon forgotten (the warm-up of TensorFlow's ExponentialMovingAverage).

    Args:
        model: what to average; its float32 weights are copied.
        decay: share of the old average that is kept once warm, in (0, 1).
    """

    def update(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        count = int(updates)
        keep = min(decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averages, weights, 1 - keep)

    return AveragedModel(model, multi_avg_fn=torch.no_grad()(update))
