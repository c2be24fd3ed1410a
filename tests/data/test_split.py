import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from aaa.data.cache import CachedRecord
from aaa.data.split import ShuffledOrder, micro_batch, split_records
from aaa.errors import UserError


def records(count: int, split: str | None = None) -> list[CachedRecord]:
    return [CachedRecord(f"{index}.png", [""], split) for index in range(count)]  # type: ignore[arg-type]


@given(count=st.integers(1, 40), batch_size=st.integers(1, 100), seed=st.integers(0, 5), start=st.integers(0, 50))
def test_every_record_comes_once_an_epoch_wherever_one_starts(
    count: int, batch_size: int, seed: int, start: int
) -> None:
    order = ShuffledOrder(torch.arange(count) * 3, seed)
    epochs = 3
    visited = torch.cat(
        [order[range(i, min(i + batch_size, epochs * count))] for i in range(0, epochs * count, batch_size)]
    )
    for epoch in range(epochs):
        assert sorted(visited[epoch * count : (epoch + 1) * count].tolist()) == list(range(0, 3 * count, 3))
    # A resumed run takes up the same order, in batches of any size.
    start = min(start, epochs * count - 1)
    again = ShuffledOrder(torch.arange(count) * 3, seed)
    assert torch.equal(again[range(start, epochs * count)], visited[start:])


@given(
    share=st.integers(1, 5),
    before=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    after=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    resumed_at=st.integers(0, 4),
)
def test_every_position_comes_once_whoever_shares_the_steps_and_wherever_that_changes(
    share: int, before: tuple[int, int], after: tuple[int, int], resumed_at: int
) -> None:
    batch_size = share * math.lcm(math.prod(before), math.prod(after))
    visited: list[int] = []
    for step in range(5):
        processes, micro_batches = before if step < resumed_at else after
        for micro in range(micro_batches):
            for rank in range(processes):
                visited += micro_batch(
                    step, micro, rank, batch_size=batch_size, micro_batches=micro_batches, processes=processes
                )
    assert sorted(visited) == list(range(5 * batch_size))
    assert visited == sorted(visited)


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    order = ShuffledOrder(torch.arange(50), seed=0)
    assert not torch.equal(order[range(50)], order[range(50, 100)])
    assert not torch.equal(order[range(50)], ShuffledOrder(torch.arange(50), seed=1)[range(50)])


@given(count=st.integers(2, 200), fraction=st.floats(0.001, 0.9))
def test_the_fraction_is_held_out_and_nothing_is_lost(count: int, fraction: float) -> None:
    assume(max(round(fraction * count), 1) < count)
    train, held_out = split_records(records(count), fraction)
    assert len(train) + len(held_out) == count
    assert len(held_out) == max(round(fraction * count), 1)
    assert not set(train.tolist()) & set(held_out.tolist())


def test_adding_records_keeps_almost_all_of_the_old_ones_where_they_were() -> None:
    _, before = split_records(records(200), 0.1)
    _, after = split_records(records(210), 0.1)
    assert len(set(before.tolist()) & set(after.tolist())) >= 18


def test_the_mirrored_copy_of_a_held_out_record_is_not_trained_on() -> None:
    mirrored = [CachedRecord(record.key, [""], None, flipped=True) for record in records(20)]
    train, held_out = split_records([*records(20), *mirrored], 0.2)
    assert len(held_out) == 4
    assert len(train) == 2 * 16
    assert {index % 20 for index in train.tolist()}.isdisjoint(held_out.tolist())


def test_the_source_may_decide() -> None:
    train, held_out = split_records([*records(3, "train"), *records(2, "validation")], 0)
    assert train.tolist() == [0, 1, 2]
    assert held_out.tolist() == [3, 4]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="validation_fraction"):
        split_records(records(3), fraction)
