"""A GPU of this machine that torch leaves alone, so that nobody waits for a CPU without knowing."""

import os
import shutil
import subprocess

import torch

SECONDS = 10  # that a driver may take to answer


def why_unused() -> str | None:
    """Why `auto` takes the CPU of a machine with a GPU, a sentence without its full stop; None if there is no GPU."""
    if torch.backends.mps.is_available():
        return "This Mac's GPU is left alone: trainer.device=mps trains on it, where nothing has been tried yet"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not _has_nvidia_gpu():
        return None
    cause = (
        "was built without CUDA; docs/gpu.md says where to get one"
        if torch.version.cuda is None
        else f"is built for CUDA {torch.version.cuda} and cannot use it, as with a driver that is older"
    )
    return f"This machine has an NVIDIA GPU, and the run is on the CPU: torch {torch.__version__} {cause}"


def _has_nvidia_gpu() -> bool:
    """What the driver's own tool says."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU 0" in listed.stdout
