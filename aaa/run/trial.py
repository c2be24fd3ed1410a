"""Steps that are taken to see what a step takes, in memory and in time; nothing is left behind."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.data.cache import LatentCache
from aaa.data.randomness import generator
from aaa.objectives.flow_matching import Objective
from aaa.run.session import Session
from aaa.training.step import Loss, sum_of


def loss_in(dtype: torch.dtype, objective: Objective) -> Loss:
    """An objective for batches of any precision, of which the model gets latents and prompt_embeds in this one."""

    def loss(model: nn.Module, batch: Batch, draws: torch.Generator, step: int) -> Mapping[str, Tensor]:
        return objective(model, batch.as_dtype(dtype), draws, step)

    return loss


class Trial:
    """A model at the largest pictures that there are.

    Args:
        model: is left as it was.
        objective: what it is to learn.
        cache: of latents and prompt_embeds.
        session: computes.
    """

    def __init__(self, model: nn.Module, objective: Objective, cache: LatentCache, session: Session) -> None:
        self.model, self.cache, self.session = model, cache, session
        self.objective, self._loss = objective, loss_in(session.dtype, objective)

    def loss(self, samples: int) -> Tensor:
        """Mean loss of a batch of so many."""
        device = self.session.device
        batch = self.cache.batch(torch.full((samples,), self.cache.largest)).to(device)
        with self.session.accelerator.autocast():
            return sum_of(self._loss(self.model, batch, generator("trial", device=device), 0)).mean()

    def step(self, batch_size: int, micro_batches: int) -> None:
        """Forward and backward of a whole step."""
        share = batch_size // (micro_batches * self.session.accelerator.num_processes)
        for _ in range(micro_batches):
            self.loss(max(share, 1)).backward()
        self.model.zero_grad()
        for module in self.objective.modules.values():
            module.zero_grad()
