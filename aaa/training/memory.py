"""How much memory a run has needed at most."""

import resource
import sys

import torch


def peak_memory_gib(device: torch.device) -> float:
    """Most memory held so far, in GiB: the GPU's for a CUDA device, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
