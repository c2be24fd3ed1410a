"""Which device a command computes on, and what it is called."""

import torch

from aaa.errors import UserError


def pick_device(name: str, key: str = "device") -> str:
    """`cuda` if there is one, else `cpu`, for `auto`; any other name as it is.

    Args:
        name: of a device.
        key: of the config, that says so.

    Raises:
        UserError: if there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        told = str(error).splitlines()[0].split(". ")[0].split(" Please")[0].rstrip(".")
        told = "it knows no such device" if told.startswith("Expected one of") else told
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        there = ["auto", "cpu", *(kind for kind, is_there in found.items() if is_there)]
        raise UserError(f"{key}={name}: torch cannot use it ({told}). There is: {', '.join(there)}.") from None
    return name


def describe_device(device: torch.device) -> str:
    """The name of a GPU, or how many threads a CPU computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"
