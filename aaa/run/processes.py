"""What the processes of a run have to agree on."""

from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def of_first_process(value: T, accelerator: Accelerator) -> T:
    """The first process's value, in every process."""
    values = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values[0]
