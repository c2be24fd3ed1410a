"""Copies to a device that nobody waits for."""

import torch
from torch import Tensor


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; the CPU goes on meanwhile, and the tensor may be let go of.

    From memory that is not page-locked CUDA copies before it returns. Apple's GPUs may read the memory later, whoever
    has it by then (github.com/pytorch/pytorch/issues/189690), so they are waited for.
    """
    return tensor.to(device, non_blocking=device.type != "mps")
