"""torch.compile where it works; where it does not, one warning and the model as it was."""

import logging
from collections.abc import Callable

import torch
from torch import nn

from aaa.config.compiling import STATIC, has_one_shape

logger = logging.getLogger(__name__)


def compile_model(model: nn.Module, device: torch.device, how: bool | str = True) -> bool:
    """Compile the model's forward in place, so that its parameters keep their names.

    Compiling needs a C++ compiler or Triton, which a machine may lack: a trial on a tiny function tells.

    Args:
        model: to compile.
        device: that it is on.
        how: `trainer.compile`. With true the first shape is compiled for itself, whatever differs from it for any.

    Returns:
        Whether it is compiled.
    """
    try:
        torch.compile(_trial)(torch.ones(8, device=device, requires_grad=True)).backward()
    except Exception as error:
        logger.warning(
            "torch.compile does not work on this machine (%s); going on without it.",
            (str(error).splitlines() or [type(error).__name__])[0],
        )
        return False
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled later on runs as it is
    if has_one_shape(how):
        model.compile(dynamic=False, mode=None if how == STATIC else how)
    else:
        model.compile()
    return True


def looking_uncompiled(look: Callable[[int], None]) -> Callable[[int], None]:
    """The same with nothing compiled that has not the shape of a training step.

    Validation and grids have many shapes, each of which would be compiled for itself; and what a CUDA graph gave is
    gone when it runs again, which samplers that look back would not survive.
    """

    def uncompiled(step: int) -> None:
        with torch.compiler.set_stance("force_eager"):
            look(step)

    return uncompiled


def _trial(x: torch.Tensor) -> torch.Tensor:
    return (x.sin() * 2 + 1).sum()
