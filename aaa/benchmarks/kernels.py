"""What the time of a step goes into on a device: products of matrices, attention, or passes over memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

from aaa.benchmarks.gpu_card import Row
from aaa.benchmarks.idle import profiled, work_in

# What is in the names of kernels (cuBLAS, CUTLASS, cuDNN, Flash, torch, Triton) and of torch's operations on a CPU; the
# first that is found counts.
KINDS: dict[str, Sequence[str]] = {
    "attention": ("flash", "fmha", "attention", "sdpa", "softmax"),
    "products of matrices": ("gemm", "nvjet", "cutlass", "cublas", "xmma", "triton_tem", "addmm", "bmm", "aten::mm"),
    "optimizer and EMA": ("multi_tensor", "foreach", "fused_adam", "lerp"),
    "copies and casts": ("memcpy", "memset", "copy_kernel", "aten::copy", "catarray", "aten::cat"),
}
MULTIPLYING = ("products of matrices", "attention")
FUSED = ("triton_poi", "triton_per", "triton_red")  # named after all that they fuse, products' epilogues too
OTHERS = "passes over memory"
SHORT = 80  # characters of a kernel's name


class Kernel(NamedTuple):
    """A kernel, or on a CPU an operation of torch's.

    Attributes:
        name: as the profiler has it.
        seconds: altogether.
        calls: how often.
    """

    name: str
    seconds: float
    calls: int

    @property
    def kind(self) -> str:
        """Of `KINDS`, or `OTHERS`."""
        name = self.name.lower()
        if name.startswith(FUSED):
            return OTHERS
        return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), OTHERS)


def kernels_of(action: Callable[[], object], device: torch.device) -> list[Kernel]:
    """What the device does while this runs, what takes longest first."""
    microseconds = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = work_in(profiled(action, device).key_averages(), device)
    found = [Kernel(event.key, getattr(event, microseconds) / 1e6, event.count) for event in events]
    return sorted(found, key=lambda kernel: kernel.seconds, reverse=True)


def kernel_rows(kernels: Iterable[Kernel], steps: int, most: int) -> list[Row]:
    """A row for each kind of kernel, then one for each of the kernels that take longest.

    Args:
        kernels: of so many steps.
        steps: that they were seen in.
        most: kernels to name.
    """
    kernels = list(kernels)
    total = sum(kernel.seconds for kernel in kernels)

    def row(what: str, of: Sequence[Kernel]) -> Row:
        seconds, calls = sum(kernel.seconds for kernel in of), sum(kernel.calls for kernel in of)
        return {what: of[0].name[:SHORT] if what == "kernel" else of[0].kind} | {
            "ms": 1000 * seconds / steps,
            "share": seconds / total if total else 0.0,
            "calls": calls / steps,
        }

    kinds = {kernel.kind: [other for other in kernels if other.kind == kernel.kind] for kernel in kernels}
    by_kind = [row("kind", of) for of in kinds.values()]
    by_kind.sort(key=lambda found: float(found["share"]), reverse=True)
    return by_kind + [row("kernel", [kernel]) for kernel in kernels[:most]]
