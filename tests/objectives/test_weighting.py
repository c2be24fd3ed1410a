"""Weights of noise levels, by hand."""

import math

import pytest
import torch

from aaa.diffusion.prediction import CleanPrediction
from aaa.diffusion.schedulers import NoiseLevels
from aaa.errors import UserError
from aaa.objectives.weighting import make_weighting


def levels(*sigmas: float) -> NoiseLevels:
    sigma = torch.tensor(sigmas)
    return NoiseLevels(sigma, 1000 * sigma, torch.arange(1.0, len(sigmas) + 1))


def test_min_snr_at_three_noise_levels() -> None:
    # SNR 16, 1 and 1/16: the first is cut to 5. Each times sigma^2, as errors of velocity are counted.
    found = make_weighting("min_snr", 5.0)(levels(0.2, 0.5, 0.8))
    assert found.tolist() == pytest.approx([0.04 * 5, 0.25 * 1, 0.64 / 16])
    assert make_weighting("min_snr", 1.0)(levels(0.2, 0.5, 0.8)).tolist() == pytest.approx([0.04, 0.25, 0.04])


def test_min_snr_of_velocity_is_min_snr_of_the_clean_picture() -> None:
    draws = torch.Generator().manual_seed(0)
    clean, noise, guess = (torch.randn(3, 7, generator=draws, dtype=torch.float64) for _ in range(3))
    for sigma, snr in ((0.2, 16.0), (0.5, 1.0), (0.8, 1 / 16)):
        noised = (1 - sigma) * clean + sigma * noise
        of_picture = min(snr, 5.0) * (noised - sigma * guess - clean).square().mean()
        weight = make_weighting("min_snr", 5.0)(levels(sigma)).double()
        torch.testing.assert_close(weight.squeeze() * (guess - (noise - clean)).square().mean(), of_picture)


def test_min_snr_of_a_predicted_picture_is_its_own_below_the_bound_too() -> None:
    draws = torch.Generator().manual_seed(0)
    clean, noise, guess = (torch.randn(1, 3, 2, 2, generator=draws) for _ in range(3))
    prediction = CleanPrediction(least_sigma=0.2)
    for sigma, snr in ((0.0, math.inf), (0.01, 9801.0), (0.1, 81.0), (0.3, 49 / 9), (0.8, 1 / 16)):
        level = torch.tensor([sigma])
        noised = (1 - sigma) * clean + sigma * noise
        velocities = [prediction.velocity(lambda *_, it=it: it, noised, clean, level, level) for it in (guess, clean)]
        weight = make_weighting("min_snr", 5.0, prediction.least_sigma)(levels(sigma))
        of_velocity = weight * (velocities[0] - velocities[1]).square().mean()
        torch.testing.assert_close(of_velocity.squeeze(), min(snr, 5.0) * (guess - clean).square().mean())


def test_the_schedulers_own_and_none() -> None:
    assert make_weighting("scheduler", 5.0)(levels(0.1, 0.9)).tolist() == [1, 2]
    assert make_weighting("none", 5.0)(levels(0.1, 0.9)).tolist() == [1, 1]


def test_the_bell_is_nothing_at_its_ends_and_most_in_the_middle() -> None:
    low, middle, high, quarter = make_weighting("flux2", 5.0)(levels(0.0, 0.5, 1.0, 0.25)).tolist()
    assert low == pytest.approx(0, abs=1e-6)
    assert high == pytest.approx(0, abs=1e-6)
    assert 0 < quarter < middle


def test_what_is_no_weighting_is_refused() -> None:
    with pytest.raises(UserError, match=r"objective\.weighting=snr: must be one of scheduler, none, flux2, min_snr"):
        make_weighting("snr", 5.0)
    with pytest.raises(UserError, match=r"objective\.min_snr_gamma=0: must be above 0"):
        make_weighting("min_snr", 0)
