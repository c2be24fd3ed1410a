"""How much memory a run has needed at most, and how much there is."""

import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory_gib(device: torch.device) -> float:
    """Most memory held so far, in GiB: the GPU's for a CUDA device, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if STATUS.is_file():
        (peak,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 2**20
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss / (2**30 if sys.platform == "darwin" else 2**20)


def reset_peak_memory(device: torch.device) -> None:
    """Count the peak from here on, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        CLEAR.write_text("5")  # Linux: reset the peak resident set size


def available_memory_gib(device: torch.device) -> float:
    """How much this process may hold in all, in GiB, without anything being pushed out."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / 2**30
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return float("inf")
    (available,) = (line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
    (held,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    return (int(available.split()[1]) + int(held.split()[1])) / 2**20
