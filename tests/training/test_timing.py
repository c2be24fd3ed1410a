import time
from mmap import mmap

import pytest
import torch

from aaa.training.memory import available_memory, held_memory, peak_memory_gib, reset_peak_memory
from aaa.training.timing import matmul_rate, quantiles, seconds

CPU = torch.device("cpu")


def test_seconds_are_those_of_the_action() -> None:
    assert seconds(lambda: time.sleep(0.05), CPU) >= 0.05


def test_quantiles_of_known_numbers() -> None:
    assert quantiles([float(value) for value in range(101)]) == (50.0, 5.0, 95.0)
    assert quantiles([3.0]) == (3.0, 3.0, 3.0)


def test_a_machine_multiplies_matrices() -> None:
    assert matmul_rate(CPU, torch.float32) > 1e8


@pytest.mark.gpu
def test_memory_of_a_gpu_is_counted() -> None:
    device = torch.device("cuda")
    reset_peak_memory(device)
    held = torch.empty(2**28, device=device)
    assert peak_memory_gib(device) >= held.nbytes / 2**30
    assert available_memory(device) > held.nbytes


def test_the_peak_of_this_process_can_be_reset() -> None:
    # Not by torch: an earlier test of this process may have had it keep what it frees, as training does.
    with mmap(-1, 2**29) as held:
        torch.frombuffer(held, dtype=torch.uint8).fill_(1)
        high = peak_memory_gib(CPU)
    reset_peak_memory(CPU)
    assert peak_memory_gib(CPU) < high - 0.3
    assert available_memory(CPU) > held_memory(CPU) > 0
