"""Memory for time: what a block computes is thrown away after the forward pass and computed again in the backward."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from aaa.errors import UserError
from aaa.models.block import BlockContext
from aaa.models.dit import AAADiT


def recompute_activations(model: nn.Module, *, offload: bool) -> None:
    """Keep only the input of each block for the backward pass (Chen et al. 2016), by DiffSynth's routine.

    Args:
        model: to change; what it computes stays the same.
        offload: keep those inputs in the CPU's memory.

    Raises:
        UserError: for a model of another class.
    """
    if not isinstance(model, AAADiT):
        raise UserError("trainer.gradient_checkpointing is for the DiT; model.architecture names another class.")
    from diffsynth.core.gradient import gradient_checkpoint_forward  # takes seconds to import

    def run_block(block: Callable[..., Any], x: Tensor, context: BlockContext) -> Any:
        return gradient_checkpoint_forward(block, True, offload, x, context)

    model.run_block = run_block
