import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.data.batch import Batch
from aaa.data.prefetch import Prefetch


def numbers(positions: range) -> Batch:
    extras = {"doubled": 2 * torch.tensor(positions)}
    return Batch.of_strangers(torch.tensor(positions), -torch.tensor(positions))._replace(extras=extras)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), min_size=1, max_size=12), st.integers(1, 10))
def test_what_comes_is_always_what_was_asked_for(asked: list[tuple[int, int]], stride: int) -> None:
    batches = Prefetch(numbers, stride, pin=False)
    for start, count in [*asked, *((asked[-1][0] + stride * n, 4) for n in range(3))]:
        latents, prompt_embeds, *_ = batches(range(start, start + count))
        assert latents.tolist() == list(range(start, start + count))
        assert prompt_embeds.tolist() == (-latents).tolist()
    batches.close()


def test_the_next_batch_is_read_before_it_is_asked_for() -> None:
    read: list[range] = []
    second = threading.Event()

    def batch(positions: range) -> Batch:
        read.append(positions)
        if len(read) == 2:
            second.set()
        return numbers(positions)

    batches = Prefetch(batch, 8, pin=False)
    batches(range(4))
    assert second.wait(timeout=30)
    assert read == [range(4), range(8, 12)]
    batches(range(8, 12))
    batches.close()
    assert read[:3] == [range(4), range(8, 12), range(16, 20)][: len(read)]


def test_an_error_while_reading_ahead_comes_when_that_batch_is_asked_for() -> None:
    def batch(positions: range) -> Batch:
        if positions.start == 4:
            raise OSError("the disk is gone")
        return numbers(positions)

    batches = Prefetch(batch, 4, pin=False)
    batches(range(4))
    with pytest.raises(OSError, match="the disk is gone"):
        batches(range(4, 8))
    batches.close()


@pytest.mark.gpu
def test_batches_for_a_gpu_are_page_locked() -> None:
    batches = Prefetch(numbers, 4, pin=True)
    batch = batches(range(4))
    assert all(tensor.is_pinned() for tensor in (batch.latents, batch.prompt_embeds, *batch.extras.values()))
    batches.close()
