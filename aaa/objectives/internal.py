"""A second head in the middle (Internal Guidance, CVPR 2026, arXiv 2512.24176): deep supervision of a block."""

from einops import rearrange
from torch import Tensor

from aaa.models.internal_head import InternalHead
from aaa.objectives.flow_matching import velocity_error
from aaa.objectives.terms import ForwardPass, Term


class Internal(Term):
    """The error of what a linear head predicts from a block's tokens, of the same kind and on the same target.

    The head is the model's, `model.internal_head`, which is averaged and exported with it: guidance=internal asks it. A
    model that has none (of another architecture, of an earlier version's run, or where the term ends before training
    does) is helped by a head of the term's, which stays behind in the checkpoints.

    Args:
        weight: in the loss.
        after_block: number of the block, from 1; the paper's is at a third of the depth, and later ones hurt.
        dim: width of hidden states.
        latent_channels: of the latents.
        until_step: see `Term`.
        model_head: the block after which the model has a head itself, or None.
    """

    recordable = True

    def __init__(
        self,
        weight: float,
        after_block: int,
        dim: int,
        latent_channels: int,
        until_step: int | None = None,
        model_head: int | None = None,
    ) -> None:
        super().__init__(weight, until_step)
        self.wants_internal = model_head is not None
        self._multiplications = dim * latent_channels
        self.after_block = after_block if model_head is None else model_head
        if not self.wants_internal:
            self.after_blocks = (after_block,)
            self.module = InternalHead(dim, latent_channels, after_block) if weight else None

    def flops(self, height: int, width: int) -> int:
        """See `Term`; the model counts a head of its own."""
        return 0 if self.module is None else 2 * height * width * self._multiplications

    def __call__(self, done: ForwardPass) -> Tensor:
        """See `Term`."""
        clean, noise = done.batch.latents, done.draws.noise
        output = done.internal
        if not self.wants_internal:
            assert self.module is not None
            output = rearrange(self.module(done.hidden[self.after_block]), "b (h w) c -> b c h w", h=clean.shape[2])
        assert output is not None
        computed = done.computed.get(self.after_block)
        return done.weight * velocity_error(done.velocity_of(output), clean, noise, computed)
