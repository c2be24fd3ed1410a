import logging
from pathlib import Path

import pytest

from aaa.assembly.taken_statistics import taken_statistics
from aaa.encoders.statistics import LatentStatistics

OF_DATA = LatentStatistics((0.0, 1.0), (1.0, 2.0))
WEIGHTS = Path("outputs/x")


def taken(of_weights: LatentStatistics | None, channels: int = 2) -> LatentStatistics | None:
    return taken_statistics(of_weights, OF_DATA, channels, WEIGHTS)


def test_those_of_the_weights_are_taken_where_data_differ() -> None:
    other = LatentStatistics((0.5, 0.0), (2.0, 1.5))
    assert taken(other) is other


def test_nothing_is_taken_that_does_not_fit_or_is_the_same() -> None:
    assert taken(None) is None
    assert taken(LatentStatistics((0.0,), (1.0,))) is None
    assert taken(LatentStatistics((0.0, 1.0), (1.0, 2.0))) is None


@pytest.mark.parametrize(("mean", "std"), [(0.0, 30.0), (0.0, 1 / 30), (9.0, 1.0)])
def test_those_of_another_vae_are_left_and_told(mean: float, std: float, caplog: pytest.LogCaptureFixture) -> None:
    other = LatentStatistics((mean, 1.0 + mean), (std, std))
    with caplog.at_level(logging.WARNING):
        assert taken(other) is None
    assert "statistics of another VAE: by these, latents of these data are" in caplog.text


def test_one_channel_alone_that_hardly_varies_is_no_other_vae() -> None:
    grey = LatentStatistics((0.0, 1.0, 0.0), (1.0, 2.0, 1e-2))
    assert taken_statistics(grey, LatentStatistics((0.0, 1.0, 0.0), (1.0, 2.0, 1.0)), 3, WEIGHTS) is grey
