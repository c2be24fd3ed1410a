"""Precisions by name, the dtypes they mean, and which of them a machine computes quickly in."""

import logging
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from aaa.errors import UserError
from aaa.models.forward import Asked, ModelOutput

logger = logging.getLogger(__name__)

# name: what accelerate autocasts to, dtype of the weights and of the model's inputs
PRECISIONS: dict[str, tuple[Literal["no", "bf16"], torch.dtype]] = {
    "float32": ("no", torch.float32),
    "bf16": ("bf16", torch.float32),
    "bf16_weights": ("no", torch.bfloat16),
}


@dataclass(frozen=True)
class ModelPrecision:
    """What a trained model is run in, wherever it draws or is judged.

    Attributes:
        name: of `PRECISIONS`.
        device: where it runs.
    """

    name: str
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and of what the model is given."""
        return PRECISIONS[self.name][1]

    def autocast(self) -> AbstractContextManager[object]:
        """The context to run a model in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=PRECISIONS[self.name][0] == "bf16")

    def running(self, model: Asked) -> "RunInPrecision":
        """The model run so, its output in what it was computed in: accelerate gives float32 of a model in training."""
        return RunInPrecision(model, self)


@dataclass(frozen=True)
class RunInPrecision:
    """A model that is run in a precision, whatever it is asked for.

    Attributes:
        wrapped: the model.
        precision: to run it in.
    """

    wrapped: Asked
    precision: ModelPrecision

    def __call__(self, latents: Tensor, *inputs: Tensor, **options: object) -> Any:
        """What the model gives for latents of any dtype, its predictions in what they were computed in."""
        autocast, dtype = PRECISIONS[self.precision.name]
        computed = torch.bfloat16 if autocast == "bf16" else dtype
        with self.precision.autocast():
            output = self.wrapped(latents.to(dtype), *inputs, **options)
        if not isinstance(output, ModelOutput):
            return output.to(computed)
        internal = None if output.internal is None else output.internal.to(computed)
        return output._replace(prediction=output.prediction.to(computed), internal=internal)


def model_precision(trained: str | None, device: torch.device, asked: str | None = None) -> ModelPrecision:
    """The precision that a trained model is run in: one rule for `aaa.sample`, `aaa.evaluate` and the web page.

    It is what the model was trained in, and so what its run drew its grids in, where this device multiplies bf16; else
    float32.

    Args:
        trained: `trainer.precision` of its run, None where that is not known.
        device: to run it on.
        asked: in place of all that, as `precision=` says; `auto` as in training.

    Raises:
        UserError: for an unknown name.
    """
    if asked is not None:
        return ModelPrecision(choose_precision(asked, device, key="precision"), device)
    if trained is None or not multiplies_bf16(device):
        return ModelPrecision("float32", device)
    return ModelPrecision(choose_precision(trained, device), device)


def precision(name: str, key: str = "trainer.precision") -> tuple[Literal["no", "bf16"], torch.dtype]:
    """Autocast mode and weights' dtype of `float32`, `bf16` (autocast) or `bf16_weights`.

    Raises:
        UserError: for any other name, which `key` was set to.
    """
    if name not in PRECISIONS:
        raise UserError(f"{key}={name}: must be one of auto, {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def choose_precision(name: str, device: torch.device, key: str = "trainer.precision") -> str:
    """The precision that `auto` means on this device; any other name as it is, with a warning where it crawls.

    Raises:
        UserError: for an unknown name, which `key` was set to.
    """
    fast = multiplies_bf16(device)
    if name == "auto":
        return "bf16" if fast else "float32"
    precision(name, key)
    if name != "float32" and not fast:
        logger.warning(
            "%s=%s: this %s has no bf16 arithmetic, and doing it by hand is many times slower; "
            "%s=float32 (or auto) is quick here.",
            key,
            name,
            "processor" if device.type == "cpu" else "GPU",
            key,
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
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    # torch for macOS comes without oneDNN, by which it multiplies bf16 on other ARM processors.
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
