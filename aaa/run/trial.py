"""Steps that are taken to see what a step takes, in memory and in time; nothing is left behind."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.data.batch import Batch
from aaa.data.cache import LatentCache
from aaa.data.randomness import generator
from aaa.objectives.flow_matching import Objective
from aaa.run.session import Session
from aaa.training.sharding import local
from aaa.training.step import Loss, sum_of

MakeOptimizer = Callable[[nn.Module, nn.Module], Optimizer]


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

    @contextmanager
    def steps(self, make_optimizer: MakeOptimizer, batch_size: int, micro_batches: int) -> Iterator[Callable[[], None]]:
        """A block in which whole steps can be taken, whose weights are those from before after it.

        Args:
            make_optimizer: of the model and of what the objective trains.
            batch_size: of a step, over all processes.
            micro_batches: of a step.
        """
        of_objective = nn.ModuleDict(self.objective.modules)
        trained = [local(weight.detach()) for module in (self.model, of_objective) for weight in module.parameters()]
        before = [weight.to("cpu", copy=True) for weight in trained]
        optimizer = make_optimizer(self.model, of_objective)
        share = max(batch_size // (micro_batches * self.session.accelerator.num_processes), 1)

        def step() -> None:
            for _ in range(micro_batches):
                self.loss(share).backward()
            optimizer.step()
            optimizer.zero_grad()

        try:
            yield step
        finally:
            for weight, earlier in zip(trained, before, strict=True):
                weight.copy_(earlier)
