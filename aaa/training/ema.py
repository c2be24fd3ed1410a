"""An exponential moving average of the weights, which draws better pictures than the last step's."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from aaa.training.sharding import local

# The share of the old average that the n-th update after the first keeps.
Keep = Callable[[int], float]


class EMA(AveragedModel):
    """A copy of a model whose `update_parameters(model)` moves it towards the model's weights.

    The first update copies them. The copy's weights are float32 at least: in bf16 a step of the average, which is a
    thousandth of its distance from the weights, would be rounded to nothing. Its buffers are the model's.

    Args:
        model: what to average.
        keep: how much of the old average each update after that keeps.
    """

    def __init__(self, model: nn.Module, keep: Keep) -> None:
        super().__init__(model)
        stored = next(model.parameters()).dtype
        self.module.to(torch.promote_types(stored, torch.float32))
        self.keep = keep
        self._has_buffers = any(True for _ in model.buffers())  # looking for them at each step takes time
        # torch counts updates on the model's device and looks at the count each time: a GPU would be waited for.
        self.n_averaged = self.n_averaged.cpu()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of one more step."""
        torch._foreach_lerp_(*self._pairs(model), self.next_share())
        self._take_buffers(model)
        self.n_averaged += 1

    def next_share(self) -> float:
        """How much of the weights the next update takes in."""
        count = int(self.n_averaged)
        return 1 - self.keep(count) if count else 1.0

    @torch.no_grad()
    def move_towards(self, model: nn.Module, share: Tensor) -> None:
        """The same by a share, one number, that lies on the device; whoever asks for it counts the update."""
        average, weights = self._pairs(model)
        steps = torch._foreach_sub(weights, average)
        torch._foreach_mul_(steps, share)
        torch._foreach_add_(average, steps)
        self._take_buffers(model)

    def _pairs(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        average = list(map(local, self.module.parameters()))
        weights = [local(weight).to(own.dtype) for own, weight in zip(average, model.parameters(), strict=True)]
        return average, weights

    def _take_buffers(self, model: nn.Module) -> None:
        if self._has_buffers:
            for own, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
                own.copy_(buffer)


def decaying(decay: float) -> Keep:
    """A memory of a constant number of steps, 1 / (1 - decay).

    The n-th update keeps `min(decay, (1 + n) / (10 + n))`, so that the first, random weights are soon forgotten (the
    warm-up of TensorFlow's ExponentialMovingAverage).

    Args:
        decay: in [0, 1).
    """
    return lambda n: min(decay, (1 + n) / (10 + n))


def share_of_run(share: float) -> Keep:
    """A memory that is a constant share of the steps so far, however many they become (EDM2, 2312.02696, equation 1).

    The n-th update keeps `(1 - 1 / t) ** (1 / share - 1)` with `t = n + 1`, so that a step weighs as the power
    `1 / share - 2` of its number, and the weights in the average are `share * t` steps old in the mean. So a run that
    is made longer goes on with the average that the longer run would have had.

    Args:
        share: in (0, 0.5]; at 0.5 all steps weigh the same.
    """
    exponent = 1 / share - 1
    return lambda n: (n / (n + 1)) ** exponent


def keep_of(decay: float | None, memory: float | None, batch_size: int) -> Keep | None:
    """What an average keeps by `trainer.ema_decay` or `trainer.ema_memory`; None if there is no average.

    Args:
        decay: per update.
        memory: a share of the run below 1, else samples.
        batch_size: samples of an update.
    """
    if memory is not None:
        return decaying(1 - batch_size / memory) if memory >= 1 else share_of_run(memory)
    return decaying(decay) if decay else None
