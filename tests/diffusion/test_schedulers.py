import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.data.randomness import generator
from aaa.diffusion.schedulers import LinearScheduler, LogitNormalScheduler, visited_levels
from aaa.errors import UserError


def test_linear_draws_every_noise_level_equally_often() -> None:
    sigma, _, weight = LinearScheduler().draw(20_000, generator("test"))
    assert torch.histc(sigma, 10, 0, 1) == pytest.approx(torch.full((10,), 2000.0), rel=0.1)
    assert (weight == 1).all()


def test_logit_normal_draws_the_distribution_it_names() -> None:
    sigma, _, _ = LogitNormalScheduler(mean=0.5, std=1.5).draw(50_000, generator("test"))
    logit = sigma.logit()
    assert logit.mean().item() == pytest.approx(0.5, abs=0.03)
    assert logit.std().item() == pytest.approx(1.5, abs=0.03)


@given(steps=st.integers(1, 200), strength=st.floats(0.01, 1.0), shift=st.floats(0.2, 10.0))
def test_sampling_falls_from_the_strength_to_zero(steps: int, strength: float, shift: float) -> None:
    sigmas = LinearScheduler(shift).sampling_sigmas(steps, tokens=64, denoising_strength=strength)
    assert len(sigmas) == steps + 1
    assert sigmas[0].item() == pytest.approx(shift * strength / (1 + (shift - 1) * strength), rel=1e-4)
    assert sigmas[-1] == 0
    assert (sigmas[1:] < sigmas[:-1]).all()


def test_bigger_pictures_are_shifted_by_the_square_root_of_their_tokens() -> None:
    scheduler = LogitNormalScheduler(shift=1.5, base_tokens=64)
    assert torch.equal(scheduler.sampling_sigmas(9, 64), LinearScheduler(1.5).sampling_sigmas(9, 64))
    assert torch.equal(scheduler.sampling_sigmas(9, 256), LinearScheduler(3.0).sampling_sigmas(9, 256))
    # Esser et al. 2024, below equation 23: at the same signal-to-noise ratio of the mean colour, sigma / (1 - sigma)
    # is as many times higher as a side has more latents.
    plain, shifted = (LinearScheduler(1, tokens).sampling_sigmas(7, 400)[1:-1] for tokens in (400, 100))
    torch.testing.assert_close(shifted / (1 - shifted), 2 * plain / (1 - plain))
    with pytest.raises(UserError, match=r"scheduler\.base_tokens=0: must be at least 1"):
        LinearScheduler(1, 0)


@pytest.mark.parametrize("kind", [LinearScheduler, LogitNormalScheduler])
@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 200), seed=st.integers(0, 99))
def test_a_stratified_batch_has_one_level_of_each_range(kind: type[LinearScheduler], batch: int, seed: int) -> None:
    scheduler = kind(stratified=True)
    levels = scheduler.draw(batch, torch.Generator().manual_seed(seed))
    bounds = torch.tensor([0.0, *(scheduler.level_above(place / batch) for place in range(1, batch)), 1.0])
    rounding = 1e-6
    assert (bounds[:-1] - rounding <= levels.sigma.sort().values).all()
    assert (levels.sigma.sort().values <= bounds[1:] + rounding).all()
    assert torch.equal(levels.timestep, 1000 * levels.sigma)


@pytest.mark.parametrize("kind", [LinearScheduler, LogitNormalScheduler])
def test_a_place_in_a_stratified_batch_tells_nothing_of_the_level(kind: type[LinearScheduler]) -> None:
    scheduler, draws = kind(stratified=True), torch.Generator().manual_seed(0)
    levels = torch.stack([scheduler.draw(4, draws).sigma for _ in range(1000)])
    assert levels.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.03)
    assert (levels.quantile(0.1, dim=0) < scheduler.level_above(0.15)).all()
    assert (levels.quantile(0.9, dim=0) > scheduler.level_above(0.85)).all()


def test_stratified_levels_are_distributed_as_others_and_vary_less_between_batches() -> None:
    means = {}
    for stratified in (False, True):
        scheduler = LogitNormalScheduler(0.5, 1.0, stratified=stratified)
        draws = [scheduler.draw(32, torch.Generator().manual_seed(seed)).sigma for seed in range(500)]
        logits = torch.cat(draws).logit()
        assert logits.mean().item() == pytest.approx(0.5, abs=0.03)
        assert logits.std().item() == pytest.approx(1.0, abs=0.03)
        means[stratified] = torch.stack([levels.mean() for levels in draws])
    assert means[True].std() < 0.2 * means[False].std()


@given(shift=st.floats(0.1, 20), base=st.integers(1, 4096), tokens=st.integers(1, 4096), steps=st.integers(1, 50))
def test_the_first_level_is_that_of_noise_if_shifted(shift: float, base: int, tokens: int, steps: int) -> None:
    sigmas = LinearScheduler(shift, base).sampling_sigmas(steps, tokens)
    assert sigmas[0] == 1
    assert (sigmas.diff() <= 0).all()


def test_a_picture_of_this_size_has_a_first_level_of_one() -> None:
    assert LogitNormalScheduler(0.8, 0.8, base_tokens=64).sampling_sigmas(10, 8 * 15)[0] == 1


class Rounded(LinearScheduler):
    def sampling_sigmas(self, steps: int, tokens: int, denoising_strength: float = 1.0) -> torch.Tensor:
        levels = super().sampling_sigmas(steps, tokens, denoising_strength)
        levels[0], levels[-1] = 1.0000001, 1e-6
        return levels


def test_levels_of_ones_own_end_where_they_are_meant_to() -> None:
    levels = visited_levels(Rounded(), 4, 16, 1.0)
    assert levels.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
