"""Orders by formula: permutations, as random as shuffles are, and the same from wherever one starts."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aaa.data.kept import KeptRecords
from aaa.data.order import BucketedOrder, FormulaOrder, buckets_in_order, formulas_by_shape
from aaa.data.permutation import permuted


@settings(max_examples=40)
@given(length=st.integers(1, 3000), seed=st.integers(0, 9))
def test_everybody_stands_at_one_place(length: int, seed: int) -> None:
    everyone = permuted(torch.arange(length), length, "test", seed)
    assert sorted(everyone.tolist()) == list(range(length))


def test_a_place_is_asked_for_alone_however_many_there_are() -> None:
    length = 10**12 + 7
    places = torch.randint(length, (1000,), generator=torch.Generator().manual_seed(0))
    together = permuted(places, length, 1)
    assert together.unique().numel() == places.unique().numel()
    assert 0 <= int(together.min()) <= int(together.max()) < length
    assert torch.equal(torch.cat([permuted(place[None], length, 1) for place in places[:20]]), together[:20])
    assert not (together == permuted(places, length, 2)).any()


def test_of_few_things_every_order_comes_about_as_often() -> None:
    orders = [tuple(permuted(torch.arange(4), 4, seed).tolist()) for seed in range(2400)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_neighbours_land_anywhere() -> None:
    """Where each lands, and how far its neighbour lands from it, are as if drawn: both are uniform."""
    length = 100_003
    landed = permuted(torch.arange(length), length, "epoch", 0, 0)
    for values in (landed[:20_000], landed.diff() % length, (landed - torch.arange(length)) % length):
        assert stats.kstest(values.numpy() / length, "uniform").pvalue > 1e-3
    other = permuted(torch.arange(length), length, "epoch", 0, 1)
    assert abs(stats.spearmanr(landed.numpy(), other.numpy()).statistic) < 0.02


PARTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20)), min_size=1, max_size=5)


def as_ranges(parts: list[tuple[int, int]]) -> list[range]:
    ranges, start = [], 0
    for gap, length in parts:
        ranges.append(range(start + gap, start + gap + length))
        start += gap + length
    return ranges


@given(parts=PARTS, left_out=st.sets(st.integers(0, 130)))
def test_kept_are_those_of_the_ranges_that_are_not_left_out(parts: list[tuple[int, int]], left_out: set[int]) -> None:
    ranges = as_ranges(parts)
    kept = KeptRecords(ranges, torch.tensor(sorted(left_out), dtype=torch.long))
    expected = [index for part in ranges for index in part if index not in left_out]
    assert len(kept) == len(expected)
    assert kept[torch.arange(len(kept))].tolist() == expected
    last = kept.within(ranges[-1:])
    assert last[torch.arange(len(last))].tolist() == [index for index in ranges[-1] if index not in left_out]


@settings(max_examples=40)
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 60),
    seed=st.integers(0, 5),
    left_out=st.sets(st.integers(0, 39)),
)
def test_every_record_comes_once_an_epoch(count: int, batch_size: int, seed: int, left_out: set[int]) -> None:
    kept = KeptRecords([range(count)], torch.tensor(sorted(left_out), dtype=torch.long))
    if not len(kept):
        return
    order = FormulaOrder(kept, seed)
    end = 3 * len(kept)
    visited = torch.cat([order[range(i, min(i + batch_size, end))] for i in range(0, end, batch_size)])
    for epoch in visited.split(len(kept)):
        assert sorted(epoch.tolist()) == sorted(set(range(count)) - left_out)
    # A resumed run goes on from anywhere, with batches of any size.
    assert torch.equal(FormulaOrder(kept, seed)[range(end // 2, end)], visited[end // 2 :])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    kept = KeptRecords([range(50)], torch.empty(0, dtype=torch.long))
    order = FormulaOrder(kept, seed=0)
    assert not torch.equal(order[range(50)], order[range(50, 100)])
    assert not torch.equal(order[range(50)], FormulaOrder(kept, seed=1)[range(50)])


class Shapes:
    """Records of two shapes, some of each by turns."""

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return indices // 10 % 2

    def ranges(self) -> list[list[range]]:
        return [[range(0, 10), range(20, 30)], [range(10, 20)]]


def test_batches_of_one_shape_and_all_of_their_records() -> None:
    left_out = torch.tensor([3, 11, 25])
    by_shape = formulas_by_shape(KeptRecords([range(30)], left_out), Shapes(), seed=0)
    order = buckets_in_order([*by_shape.values()], batch_size=4, seed=0)
    assert isinstance(order, BucketedOrder)
    batches = [order[range(start, start + 4)] for start in range(0, 4 * 8 * 9, 4)]
    assert all(Shapes()[batch].unique().numel() == 1 for batch in batches)
    times = torch.cat(batches).bincount(minlength=30)
    assert times[left_out].sum() == 0
    for shape in (0, 1):
        of_shape = [i for ranges in (Shapes().ranges()[shape],) for part in ranges for i in part if i not in left_out]
        assert int(times[of_shape].max() - times[of_shape].min()) <= 1
