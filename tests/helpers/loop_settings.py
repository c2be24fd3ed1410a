"""Settings of a training loop that a test says the rest of."""

from typing import Any

from aaa.training.settings import LoopSettings


def loop_settings(**changed: Any) -> LoopSettings:
    """Those of a loop that logs each step and saves nothing."""
    usual: dict[str, Any] = {
        "seed": 0,
        "max_steps": 20,
        "batch_size": 8,
        "gradient_accumulation_steps": 1,
        "max_grad_norm": 1.0,
        "log_every_steps": 1,
        "save_every_steps": 0,
    }
    return LoopSettings(**(usual | changed))
