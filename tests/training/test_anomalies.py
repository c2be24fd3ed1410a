"""Which losses stand out from those of the steps before."""

import pytest

from aaa.training.anomalies import Spikes

MEDIAN, DEVIATION = 1.0, 0.25  # of `ALTERNATING`, whose sums with them are exact
ALTERNATING = [MEDIAN - DEVIATION, MEDIAN + DEVIATION]


def after(losses: list[float]) -> Spikes:
    spikes = Spikes()
    for loss in losses:
        spikes.is_spike(loss)
    return spikes


@pytest.mark.parametrize(("deviations", "spike"), [(9.9, False), (10.1, True), (-10.1, False), (float("inf"), True)])
@pytest.mark.parametrize("steps", [50, 200])
def test_a_loss_stands_out_ten_median_deviations_above_the_median(deviations: float, spike: bool, steps: int) -> None:
    assert after(ALTERNATING * (steps // 2)).is_spike(MEDIAN + deviations * DEVIATION) == spike


@pytest.mark.parametrize(("steps", "spike"), [(0, False), (49, False), (50, True)])
def test_fifty_losses_are_needed_to_compare_with(steps: int, spike: bool) -> None:
    assert after([MEDIAN] * steps).is_spike(1000.0) == spike


@pytest.mark.parametrize(("last", "spike"), [(100, False), (101, True)])
def test_the_last_200_losses_alone_are_compared_with(last: int, spike: bool) -> None:
    """A loss of 5 is below the median until most of those that count are 1."""
    assert after([10.0] * 300 + [1.0] * last).is_spike(5.0) == spike
