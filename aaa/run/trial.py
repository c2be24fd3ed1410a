"""Steps that are taken to see what a step takes, in memory and in time; nothing is left behind."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aaa.data.cache import LatentCache
from aaa.data.randomness import generator
from aaa.objectives.flow_matching import Objective
from aaa.run.session import Session
from aaa.training.step import Loss, sum_of


def loss_in(dtype: torch.dtype, objective: Objective) -> Loss:
    """An objective for latents and prompt_embeds of any precision, which the model gets in this one."""

    def loss(model: nn.Module, latents: Tensor, prompt_embeds: Tensor, draws: torch.Generator) -> Mapping[str, Tensor]:
        return objective(model, latents.to(dtype), prompt_embeds.to(dtype), draws)

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
        self._loss = loss_in(session.dtype, objective)

    def loss(self, samples: int) -> Tensor:
        """Mean loss of a batch of so many."""
        device = self.session.device
        sizes = torch.tensor([math.prod(shape) for shape in self.cache.shapes])
        record = int(sizes[self.cache.shape_ids].argmax())
        latents, prompt_embeds = self.cache.gather(torch.full((samples,), record))
        with self.session.accelerator.autocast():
            draws = generator("trial", device=device)
            return sum_of(self._loss(self.model, latents.to(device), prompt_embeds.to(device), draws)).mean()

    def step(self, batch_size: int, micro_batches: int) -> None:
        """Forward and backward of a whole step."""
        share = batch_size // (micro_batches * self.session.accelerator.num_processes)
        for _ in range(micro_batches):
            self.loss(max(share, 1)).backward()
        self.model.zero_grad()
