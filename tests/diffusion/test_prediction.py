"""A model that predicts the clean picture, against velocities of pictures that are known."""

import pytest
import torch
from torch import Tensor

from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import CleanPrediction
from aaa.diffusion.samplers import Euler
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler, add_noise
from aaa.errors import UserError
from aaa.objectives.flow_matching import velocity_error

EMPTY = torch.zeros(1, 1, 1)


def test_the_velocity_of_a_known_picture() -> None:
    draws = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 3, 2, 2, generator=draws) for _ in range(2))
    sigma = torch.tensor([0.05, 0.3, 0.7, 1.0])
    noised = add_noise(clean, noise, sigma)
    found = CleanPrediction().velocity(lambda *_: clean, noised, EMPTY, 1000 * sigma, sigma)
    torch.testing.assert_close(found, noise - clean, atol=1e-5, rtol=1e-4)
    one = sigma[1:2]
    one_for_all = CleanPrediction().velocity(lambda *_: clean, add_noise(clean, noise, one), EMPTY, one, one)
    torch.testing.assert_close(one_for_all, noise - clean, atol=1e-5, rtol=1e-4)


def test_below_the_bound_the_velocity_falls_short_as_it_is_said_to() -> None:
    draws = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn(2000, 3, 2, 2, generator=draws) for _ in range(2))
    sigma = (torch.arange(2000) + 0.5) / 2000  # as the validation table has them
    noised = add_noise(clean, noise, sigma)
    found = CleanPrediction(0.05).velocity(lambda *_: clean, noised, EMPTY, 1000 * sigma, sigma)
    error = velocity_error(found, clean, noise)
    assert error[sigma >= 0.05].max().item() < 1e-6
    size = (noise - clean).square().mean().item()
    assert error.mean().item() == pytest.approx(0.05 / 3 * size, rel=0.1)


def test_an_output_of_nothing_is_a_grey_picture_that_sampling_comes_to() -> None:
    def grey(latents: Tensor, _prompt_embeds: Tensor, _timestep: Tensor) -> Tensor:
        return torch.zeros_like(latents)

    sampling = Sampling(LinearScheduler(), Euler(), PromptGuidance(1), CleanPrediction(), 8)
    drawn = sampling.draw(grey, torch.randn(1, 3, 2, 2), EMPTY, EMPTY, sampling.sigmas(4))
    assert drawn.abs().max().item() < 1e-6


@pytest.mark.parametrize("least_sigma", [0.0, 1.0, -1.0])
def test_a_bound_that_is_none_is_refused(least_sigma: float) -> None:
    with pytest.raises(UserError, match=r"objective\.prediction\.least_sigma=.*: must be above 0 and below 1"):
        CleanPrediction(least_sigma)
