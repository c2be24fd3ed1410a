import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aaa.encoders.statistics import EPSILON, Moments, pooled


@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4),
    scale=st.floats(0.01, 100),
    offset=st.floats(-100, 100),
)
def test_moments_of_batches_are_those_of_all_together(
    sizes: list[tuple[int, int, int]], scale: float, offset: float
) -> None:
    draws = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, 3, h, w, generator=draws) * scale + offset for n, h, w in sizes]
    moments = Moments()
    for batch in batches:
        moments.add(batch)
    together = torch.cat([batch.transpose(0, 1).flatten(1) for batch in batches], dim=1).double()
    torch.testing.assert_close(moments.mean(), together.mean(dim=1))
    torch.testing.assert_close(moments.variance(), together.var(dim=1, unbiased=False), rtol=1e-4, atol=1e-6)
    statistics = moments.statistics()
    for batch in batches:
        normalised = statistics.normalise(batch)
        torch.testing.assert_close(statistics.denormalise(normalised), batch, rtol=1e-4, atol=1e-3)


def test_a_channel_that_never_varies_is_not_blown_up() -> None:
    moments = Moments()
    moments.add(torch.full((2, 1, 3, 3), 5.0))
    statistics = moments.statistics()
    assert statistics.std[0] == pytest.approx(EPSILON**0.5)
    assert statistics.normalise(torch.full((1, 1, 1, 1), 5.0)).item() == pytest.approx(0, abs=1e-6)


def test_statistics_of_parts_are_pooled_to_those_of_all() -> None:
    draws = torch.Generator().manual_seed(0)
    parts = [5 + torch.randn(6, 2, 3, 3, generator=draws), -1 + 0.3 * torch.randn(2, 2, 3, 3, generator=draws)]
    told, together = [], Moments()
    for part in parts:
        alone = Moments()
        for moments in (alone, together):
            moments.add(part)
        told.append((alone.statistics(), 9 * len(part)))
    found, expected = pooled(told), together.statistics()
    assert found.mean == pytest.approx(expected.mean)
    assert found.std == pytest.approx(expected.std)
