"""Change 4a, a term that looks at the other samples of the batch."""

from torch import Tensor

from aaa.objectives.flow_matching import velocity_error
from aaa.objectives.terms import ForwardPass, Term


class Contrast(Term):
    """Minus the error to the velocity of the sample before, where that has another caption."""

    def __call__(self, done: ForwardPass) -> Tensor:
        """Of each sample."""
        error = velocity_error(done.velocity, done.batch.latents.roll(1, 0), done.draws.noise.roll(1, 0))
        same = (done.batch.captions == done.batch.captions.roll(1)).to(error.device)
        return -error.masked_fill(same, 0.0)
