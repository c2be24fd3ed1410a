"""Contrastive flow matching (Stoica et al. 2025, arXiv 2506.05350): away from the velocities of other pictures."""

import torch
from torch import Tensor

from aaa.device_copies import copied
from aaa.objectives.flow_matching import velocity_error
from aaa.objectives.terms import ForwardPass, Term


class Contrastive(Term):
    """Minus the error to another picture's velocity.

    With `weight` the paper's lambda the loss of a sample is
    `w(sigma) (|v - (n - x)|^2 - lambda |v - (n' - x')|^2)`, where the second picture and noise are another sample's.

    The other is one of those that a process computes at once, whose caption and picture differ: to push a prediction
    away from a picture of the same caption would be to push it away from what it ought to draw. For the same reason a
    sample whose prompt was dropped, to which every picture is an answer, is pushed away from none.

    Args:
        weight: lambda; at 1 and above the loss has no least value.
        until_step: see `Term`.
    """

    def __call__(self, done: ForwardPass) -> Tensor:
        """See `Term`; 0 for samples that are contrasted with no other."""
        other = copied(next_stranger(done.batch.captions, done.batch.pictures), done.velocity.device)
        error = velocity_error(done.velocity, done.batch.latents[other], done.draws.noise[other])
        alone = other == torch.arange(len(other), device=other.device)
        return -done.weight * error.masked_fill(alone | done.draws.dropped, 0.0)


def next_stranger(captions: Tensor, pictures: Tensor) -> Tensor:
    """For each sample the next one, round the end of the batch, of another caption and another picture; else itself.

    How far ahead is looked first changes from batch to batch: where the parts of a mixture take turns, the very next
    one is always of another part, or seldom.

    Args:
        captions, pictures: equal where these are, `B`.

    Returns:
        Places in the batch, `B`.
    """
    size = len(captions)
    found = torch.arange(size)
    seeking = found.clone()
    first = int(captions.sum()) % (size - 1) if size > 1 else 0
    for further in range(size - 1):  # nearly all have found one after the first
        distance = 1 + (first + further) % (size - 1)
        there = (seeking + distance) % size
        strange = (captions[there] != captions[seeking]) & (pictures[there] != pictures[seeking])
        found[seeking[strange]] = there[strange]
        seeking = seeking[~strange]
        if not len(seeking):
            break
    return found
