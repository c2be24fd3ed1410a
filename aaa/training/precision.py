"""Precisions by name, and the dtypes they mean."""

from typing import Literal

import torch

from aaa.errors import UserError

# name: what accelerate autocasts to, dtype of the weights and of the model's inputs
PRECISIONS: dict[str, tuple[Literal["no", "bf16"], torch.dtype]] = {
    "float32": ("no", torch.float32),
    "bf16": ("bf16", torch.float32),
    "bf16_weights": ("no", torch.bfloat16),
}


def precision(name: str) -> tuple[Literal["no", "bf16"], torch.dtype]:
    """Autocast mode and weights' dtype of `float32`, `bf16` (autocast) or `bf16_weights`.

    Raises:
        UserError: for any other name.
    """
    if name not in PRECISIONS:
        raise UserError(f"trainer.precision={name}: must be one of {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]
