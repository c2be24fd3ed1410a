import math

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


@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    batch_size=st.integers(1, 6),
    seed=st.integers(0, 5),
)
def test_batches_are_of_one_shape_and_records_of_a_shape_come_equally_often(
    counts: list[int], batch_size: int, seed: int
) -> None:
    shape_ids = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    indices = torch.arange(len(shape_ids)).flip(0)
    order = buckets_in_order([*shuffled_by_shape(indices, shape_ids, seed).values()], batch_size, seed)
    assert isinstance(order, BucketedOrder)
    batches_an_epoch = sum(-(-count // batch_size) for count in counts)
    seen = []
    for epoch in range(3):
        for batch in range(epoch * batches_an_epoch, (epoch + 1) * batches_an_epoch):
            chosen = order[range(batch * batch_size, (batch + 1) * batch_size)]
            assert len(chosen) == batch_size
            assert shape_ids[chosen].unique().numel() == 1
            halves = [order[range(batch * batch_size + i, batch * batch_size + i + 1)] for i in range(batch_size)]
            assert torch.equal(torch.cat(halves), chosen)
            seen += chosen.tolist()
    times = torch.tensor(seen).bincount(minlength=len(indices))
    assert times.sum() == 3 * batches_an_epoch * batch_size
    for shape in range(len(counts)):
        assert times[shape_ids == shape].max() - times[shape_ids == shape].min() <= 1
        assert times[shape_ids == shape].min() >= 3
    again = buckets_in_order([*shuffled_by_shape(indices, shape_ids, seed).values()], batch_size, seed)
    assert torch.equal(order[range(0, batch_size)], again[range(0, batch_size)])
