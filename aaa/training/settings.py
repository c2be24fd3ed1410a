"""The numbers that a training loop is told."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

OnNonfinite = Literal["stop", "skip"]
CudaGraph = bool | Literal["auto"]


@dataclass(frozen=True)
class LoopSettings:
    """How long, how much at once, and how often to measure and save.

    Attributes:
        seed: of all random draws, together with step, micro-batch and process.
        max_steps: when to end.
        batch_size: samples of a step, over all processes and micro-batches.
        gradient_accumulation_steps: micro-batches of a step.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        log_every_steps: how often losses are read back from the device.
        save_every_steps: 0 for only when a signal comes.
        save_at_steps: further ones to save at.
        on_nonfinite: what a NaN or infinite gradient does: stop the run, or have its step left out. The latter looks
            at every step's gradient norm, for which a GPU is waited for.
        max_skipped_steps: how many steps may be left out before the run stops after all.
        cuda_graph: whether steps are recorded, and launched as one; `auto`: unless that fails; see cuda_graph.py.
    """

    seed: int
    max_steps: int
    batch_size: int
    gradient_accumulation_steps: int
    max_grad_norm: float
    log_every_steps: int
    save_every_steps: int
    save_at_steps: Collection[int] = ()
    on_nonfinite: OnNonfinite = "stop"
    max_skipped_steps: int = 0
    cuda_graph: CudaGraph = False
