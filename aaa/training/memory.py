"""How much memory a run has needed at most, and how much there is."""

import ctypes
import platform
import sys
from pathlib import Path

import psutil
import torch

from aaa.tracking.variables import processes_of_machine

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Control groups (version 2), and which of them this process is in.
CGROUP, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def peak_memory_gib(device: torch.device, *, recorded: bool = False) -> float:
    """Most memory held so far, in GiB: the GPU's for a CUDA device, else this process's.

    Args:
        device: that trains.
        recorded: count what a GPU's allocator keeps too, as it does for recorded steps between one and the next.
    """
    if device.type == "cuda":
        counted = torch.cuda.max_memory_reserved if recorded else torch.cuda.max_memory_allocated
        return counted(device) / 2**30
    if STATUS.is_file():
        status = STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
        (peak,) = (line for line in status if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**30
    import resource  # of Unix alone

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss / (2**30 if sys.platform == "darwin" else 2**20)


def reset_peak_memory(device: torch.device) -> None:
    """Count the peak from here on, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        CLEAR.write_text("5", encoding="ascii")  # Linux: reset the peak resident set size


def held_memory(device: torch.device) -> int:
    """Bytes held now: of the GPU by tensors, else of this process."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def available_memory(device: torch.device) -> int:
    """Bytes that this process may hold in all, what it holds already included, without anything being pushed out.

    Processes that train together on a CPU share what is free of its memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    free = min(psutil.virtual_memory().available, _free_in_groups(CGROUP, OWN_GROUP))
    return free // processes_of_machine(otherwise=1) + held_memory(device)


def total_memory(device: torch.device) -> int:
    """Bytes of a CUDA device, whoever uses them."""
    return int(torch.cuda.get_device_properties(device).total_memory)


def _free_in_groups(root: Path, own: Path) -> int:
    """What is left of the limits of this process's control group and those around it: of a container or a SLURM job.

    A container (Docker, Kubernetes) has its limit at the root of what it sees, a job on a plain host deep below it.
    """
    try:
        (path,) = (line[3:] for line in own.read_text(encoding="utf-8").splitlines() if line.startswith("0::"))
    except (OSError, ValueError):  # no such file, or control groups of version 1 alone
        path = "/"
    innermost = root / path.lstrip("/")
    around = [group for group in innermost.parents if group.is_relative_to(root)]
    return min(map(_free_in_group, [innermost, *around]))


def _free_in_group(group: Path) -> int:
    """What a group has left of its limit, cached files not counted."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no limit ("max"), or no such file
        return sys.maxsize
    return max(0, limit - used + int(stat["file"]))


def keep_freed_memory() -> None:
    """Let this process keep memory that tensors have freed, instead of giving it back to the system after each use.

    glibc maps every tensor of 32 MiB or more anew, and the system clears each page of it before it is written: on a
    CPU that took a third of the time of a big batch. Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
