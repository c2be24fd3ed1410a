"""An exponential moving average of the weights, which draws better pictures than the last step's."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class EMA(AveragedModel):
    """A copy of a model whose `update_parameters(model)` moves it towards the model's weights.

    The first update copies them. The n-th after it keeps `min(decay, (1 + n) / (10 + n))` of the old average, so that
    the first, random weights are soon forgotten (the warm-up of TensorFlow's ExponentialMovingAverage).

    Args:
        model: what to average.
        decay: share of the old average that is kept once warm, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay
        # torch counts updates on the model's device and looks at the count each time: a GPU would be waited for.
        self.n_averaged = self.n_averaged.cpu()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of one more step."""
        count = int(self.n_averaged)
        keep = min(self.decay, (1 + count) / (10 + count)) if count else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), 1 - keep)
        self.n_averaged += 1
