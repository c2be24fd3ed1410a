"""How the processes of a run compute: what accelerate is told, whatever its own variables say."""

from datetime import timedelta
from typing import Literal

from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from aaa.tracking.variables import TRUE, hidden_from_accelerate, require_launch


def make_accelerator(
    device: str,
    mixed_precision: Literal["no", "bf16"],
    gradient_accumulation_steps: int,
    *,
    compiled: bool = False,
    timeout_seconds: float | None = None,
) -> Accelerator:
    """What places and synchronises, by the config alone: accelerate's own environment variables change nothing.

    Its accumulation stays 1 whatever the config says: the loop divides the loss by its micro-batches.

    Args:
        device: `cpu` or `cuda`.
        mixed_precision: what products are computed in.
        gradient_accumulation_steps: of the config, which a variable may say as well.
        compiled: the same.
        timeout_seconds: after which a collective whose other processes do not come ends the run; None for torch's.

    Raises:
        UserError: if the environment asks for a way to share the model out that there is not, or for processes that
            could not find each other.
    """
    require_launch()
    asked = {
        "trainer.device": (device, *(TRUE if device == "cpu" else ())),
        "trainer.precision": (mixed_precision,),
        "trainer.gradient_accumulation_steps": (str(gradient_accumulation_steps),),
        "trainer.compile": ("inductor",) if compiled else (),
    }
    handlers = [] if timeout_seconds is None else [InitProcessGroupKwargs(timeout=timedelta(seconds=timeout_seconds))]
    with hidden_from_accelerate(asked):
        return Accelerator(mixed_precision=mixed_precision, cpu=device == "cpu", kwargs_handlers=handlers)
