import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aaa.data.buckets import bucket_sizes, nearest_bucket
from aaa.data.order import BucketedOrder, buckets_in_order, shuffled_by_shape


@given(
    factor=st.sampled_from([1, 4, 8, 16]),
    times=st.integers(1, 64),
    aspect=st.floats(1.0, 4.0),
    picture=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_buckets_are_near_the_square_in_pixels_and_in_both_orientations(
    factor: int, times: int, aspect: float, picture: tuple[int, int]
) -> None:
    resolution = factor * times
    sizes = bucket_sizes(resolution, factor, aspect)
    assert (resolution, resolution) in sizes
    for height, width in sizes:
        assert height % factor == width % factor == 0
        assert (width, height) in sizes
        assert height * width <= resolution**2
        assert max(height, width) <= aspect * min(height, width)
    height, width = nearest_bucket(sizes)(*picture)
    wanted = math.log(picture[0] / picture[1])
    assert all(abs(math.log(width / height) - wanted) <= abs(math.log(w / h) - wanted) + 1e-9 for h, w in sizes)


def test_256_pixels_have_the_buckets_one_expects() -> None:
    sizes = bucket_sizes(256, 16, 2.0)
    assert (224, 288) in sizes
    assert len(sizes) >= 9
    assert all(height * width > 0.85 * 256**2 for height, width in sizes)


def test_the_widest_bucket_has_the_largest_ratio_itself() -> None:
    assert (16, 64) in bucket_sizes(32, 8, 4.0)


@pytest.mark.parametrize(("width", "size"), [(139, (10, 10)), (145, (10, 20)), (72, (10, 10)), (69, (20, 10))])
def test_the_nearest_ratio_is_that_by_which_least_is_cut_off(width: int, size: tuple[int, int]) -> None:
    """Of 1 to 1 and 2 to 1 the border is the root of 2, whichever side is the longer."""
    assert nearest_bucket([(10, 10), (10, 20), (20, 10)])(width, 100) == size


@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    batch_size=st.integers(1, 6),
    seed=st.integers(0, 5),
)
def test_batches_are_of_one_shape_and_all_records_come_equally_often(
    counts: list[int], batch_size: int, seed: int
) -> None:
    shape_ids = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    indices = torch.arange(len(shape_ids)).flip(0)
    order = buckets_in_order([*shuffled_by_shape(indices, shape_ids, seed).values()], batch_size, seed)
    assert isinstance(order, BucketedOrder)
    seen = []
    for batch in range(3 * len(indices)):  # as many batches as records: each comes once for each sample of a batch
        chosen = order[range(batch * batch_size, (batch + 1) * batch_size)]
        assert len(chosen) == batch_size
        assert shape_ids[chosen].unique().numel() == 1
        halves = [order[range(batch * batch_size + i, batch * batch_size + i + 1)] for i in range(batch_size)]
        assert torch.equal(torch.cat(halves), chosen)
        seen.append(chosen)
    assert torch.cat(seen).bincount(minlength=len(indices)).tolist() == [3 * batch_size] * len(indices)
    for shape, count in enumerate(counts):  # and none of a shape comes again before all of it came
        own = torch.cat([chosen for chosen in seen if shape_ids[chosen[0]] == shape])
        assert all(epoch.unique().numel() == len(epoch) for epoch in own.split(count))
    again = buckets_in_order([*shuffled_by_shape(indices, shape_ids, seed).values()], batch_size, seed)
    middle = range(2 * batch_size, 3 * batch_size)
    assert torch.equal(order[middle], again[middle])


@pytest.mark.parametrize("seed", range(3))
def test_a_shape_of_two_pictures_is_no_larger_part_of_training_than_they_are(seed: int) -> None:
    shape_ids = torch.tensor([0] * 998 + [1] * 2)
    by_shape = shuffled_by_shape(torch.arange(1000), shape_ids, seed)
    order = buckets_in_order([*by_shape.values()], 256, seed)
    shapes = [int(shape_ids[order[range(256 * batch, 256 * batch + 1)]]) for batch in range(1500)]
    assert sum(shapes) == 3
    assert sum(shapes[:500]) == 1


def test_a_rare_shape_does_not_come_as_late_with_every_seed() -> None:
    shape_ids = torch.tensor([0] * 19 + [1])
    places = set()
    for seed in range(8):
        order = buckets_in_order([*shuffled_by_shape(torch.arange(20), shape_ids, seed).values()], 4, seed)
        places.add(next(batch for batch in range(20) if order[range(4 * batch, 4 * batch + 1)] == 19))
    assert len(places) > 3
