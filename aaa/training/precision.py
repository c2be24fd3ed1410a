"""Precisions by name, the dtypes they mean, and which of them a machine computes quickly in."""

import logging
import platform
from functools import cache
from typing import Literal

import torch

from aaa.errors import UserError

logger = logging.getLogger(__name__)

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
        raise UserError(f"trainer.precision={name}: must be one of auto, {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def choose_precision(name: str, device: torch.device) -> str:
    """The precision that `auto` means on this device; any other name as it is, with a warning where it crawls.

    Raises:
        UserError: for an unknown name.
    """
    fast = multiplies_bf16(device)
    if name == "auto":
        return "bf16" if fast else "float32"
    precision(name)
    if name != "float32" and not fast:
        logger.warning(
            "trainer.precision=%s: this %s has no bf16 arithmetic, and doing it by hand is many times slower; "
            "trainer.precision=float32 (or auto) is quick here.",
            name,
            "processor" if device.type == "cpu" else "GPU",
        )
    return name


@cache
def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bf16 matrices.

    Without them torch converts every number on its way: on 2 cores with AVX2, products of 1024 x 1024 matrices take 70
    times as long in bf16 as in float32. The answer depends on the hardware alone, not on a measurement, so that two
    runs on one machine compute alike.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
