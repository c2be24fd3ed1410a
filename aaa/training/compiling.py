"""torch.compile where it works; where it does not, one warning and the model as it was."""

import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)


def compile_model(model: nn.Module, device: torch.device) -> bool:
    """Compile the model's forward in place, so that its parameters keep their names.

    Compiling needs a C++ compiler or Triton, which a machine may lack: a trial on a tiny function tells.

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
    model.compile()
    return True


def _trial(x: torch.Tensor) -> torch.Tensor:
    return (x.sin() * 2 + 1).sum()
