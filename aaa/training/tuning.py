"""What is set once for a process that trains."""

import os

import torch

from aaa.training.memory import keep_freed_memory


def tune_for(device: str) -> None:
    """Set what makes training on `cpu` or `cuda` fast without changing what is learned.

    On a CPU freed memory is kept; on a GPU products of float32 matrices may use TF32, whose sums are float32 and whose
    factors have 10 bits, more than bf16's 7. What cuBLAS needs for `trainer.deterministic` is set before it is first
    used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device == "cpu":
        keep_freed_memory()
    elif device == "cuda":
        torch.set_float32_matmul_precision("high")
