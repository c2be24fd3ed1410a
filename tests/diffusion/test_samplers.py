"""Samplers on flows whose end is known: Gaussian data, of which the velocity has a closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaa.diffusion.dpm_solver import DPMSolverPP2M
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.heun import Heun
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler, Sampler, SeededNoise
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler
from aaa.diffusion.sde import Sde
from aaa.errors import UserError

MEAN, STD = 0.7, 0.4  # of the data
EMPTY = torch.zeros(1, 1, 1)
SAMPLERS: dict[str, Sampler] = {"euler": Euler(), "heun": Heun(), "dpmpp_2m": DPMSolverPP2M(), "sde": Sde()}


def std_at(sigma: float) -> float:
    """Of noised data."""
    return math.hypot((1 - sigma) * STD, sigma)


def velocity(latents: Tensor, sigma: float) -> Tensor:
    """What a perfect model says: the mean of noise - clean given the latents, by regression of normal variables."""
    slope = (sigma - (1 - sigma) * STD**2) / std_at(sigma) ** 2
    return -MEAN + slope * (latents - (1 - sigma) * MEAN)


def model(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
    return velocity(latents, timestep.item() / 1000)


def sampling(sampler: Sampler, steps: int, scale: float = 1, interval: tuple[float, float] = (0.0, 1.0)) -> Sampling:
    guidance = PromptGuidance(scale, interval)
    return Sampling(LinearScheduler(), sampler, guidance, VelocityPrediction(), steps)


def end(sampler: Sampler, latents: Tensor, sigmas: list[float], noise: SeededNoise | None = None) -> Tensor:
    return sampling(sampler, 1).draw(model, latents, EMPTY, EMPTY, sigmas, noise)


def start(pictures: int = 1) -> Tensor:
    return torch.randn(pictures, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def error(sampler: Sampler, steps: int, first: float, last: float) -> float:
    """How far it ends from where the flow leads, which keeps what a picture is in standard deviations."""
    deviations = start()
    latents = (1 - first) * MEAN + std_at(first) * deviations
    logits = torch.linspace(math.log((1 - first) / first), math.log((1 - last) / last), steps + 1, dtype=torch.float64)
    exact = (1 - last) * MEAN + std_at(last) * deviations
    return (end(sampler, latents, (-logits).sigmoid().tolist()) - exact).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_halving_the_steps_shows_the_order(name: str, order: int) -> None:
    sampler = SAMPLERS[name]
    halved = error(sampler, 128, 0.95, 0.05) / error(sampler, 256, 0.95, 0.05)
    assert halved == pytest.approx(2**order, rel=0.05)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_second_order_is_nearer_with_as_many_evaluations(name: str) -> None:
    """All the way from pure noise to the picture."""
    exact = MEAN + STD * start()

    def missed(name: str, steps: int) -> float:
        of = sampling(SAMPLERS[name], steps)
        assert of.evaluations(of.sigmas(16)) <= 64
        return (end(SAMPLERS[name], start(), of.sigmas(16)) - exact).abs().max().item()

    assert missed(name, 32 if name == "heun" else 64) < missed("euler", 64) / 5


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "sde"])
def test_a_single_step_to_the_picture_is_eulers(name: str) -> None:
    torch.testing.assert_close(end(SAMPLERS[name], start(), [1.0, 0.0]), end(Euler(), start(), [1.0, 0.0]))


def test_dpm_solver_is_eulers_at_both_ends_and_not_between() -> None:
    """Beside pure noise and beside the picture, where the ratio of step lengths is no number."""
    three, four = [1.0, 0.6, 0.3, 0.0], [1.0, 0.7, 0.5, 0.3, 0.0]
    torch.testing.assert_close(end(DPMSolverPP2M(), start(), three), end(Euler(), start(), three))
    assert (end(DPMSolverPP2M(), start(), four) - end(Euler(), start(), four)).abs().max() > 1e-3


def test_dpm_solver_is_the_papers_formula() -> None:
    """Written down with alpha, lambda, h and r, from a level below pure noise to one above the picture."""
    sigmas = [0.95, 0.7, 0.45, 0.3, 0.1]
    x, last, h_last = start(), torch.tensor(0.0), 0.0
    for i in range(len(sigmas) - 1):
        (a_s, s_s), (a_t, s_t) = ((1 - level, level) for level in sigmas[i : i + 2])
        h = math.log(a_t / s_t) - math.log(a_s / s_s)
        x0 = x - s_s * velocity(x, s_s)
        d = x0
        if i:
            r = h_last / h
            d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * last
        x = s_t / s_s * x - a_t * (math.exp(-h) - 1) * d
        last, h_last = x0, h
    torch.testing.assert_close(end(DPMSolverPP2M(), start(), sigmas), x)


def test_a_step_of_the_sde_is_the_papers_formula() -> None:
    """With score, w and dt written down, from a level below pure noise to one above the picture."""
    seeds, again = SeededNoise([3, 4]), SeededNoise([3, 4])
    x = seeds((2, 4, 4)).double()
    assert torch.equal(again((2, 4, 4)).double(), x)
    sigma, following = 0.6, 0.35
    v, w, dt = velocity(x, sigma), 1.5 * sigma, following - sigma
    score = -(x + (1 - sigma) * v) / sigma
    expected = x + v * dt - w / 2 * score * dt + math.sqrt(w * -dt) * again((2, 4, 4))
    torch.testing.assert_close(end(Sde(1.5), x, [sigma, following], seeds), expected)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_each_step_tells_the_picture_that_the_model_holds_where_it_began(name: str) -> None:
    of, sigmas, x = sampling(SAMPLERS[name], 4), [1.0, 0.8, 0.45, 0.2, 0.0], start()
    for sigma, step in zip(sigmas, of.drawing(model, x, EMPTY, EMPTY, sigmas), strict=False):
        torch.testing.assert_close(step.predicted, x - sigma * velocity(x, sigma))
        x = step.latents


@pytest.mark.parametrize("name", ["euler", "heun"])
def test_a_velocity_in_bf16_is_followed_in_float32(name: str) -> None:
    latents, third = start().float(), torch.full((1, 2, 4, 4), 1 / 3).bfloat16()
    step = next(iter(SAMPLERS[name](lambda _latents, _sigma: third, latents, [0.9, 0.2], SeededNoise([0]))))
    assert torch.equal(step.latents, latents + third.float() * (0.2 - 0.9))


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_the_sde_has_the_distribution_of_the_data(noise: float) -> None:
    seeds = SeededNoise(range(20))
    latents = seeds((4, 16, 16)).double()
    drawn = end(Sde(noise), latents, sampling(Euler(), 150).sigmas(4), seeds)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.02)
    assert drawn.std() == pytest.approx(STD, rel=0.02)
    # By now it has little to do with the noise that it came from, which the flow keeps.
    deviations = torch.corrcoef(torch.stack([drawn.flatten(), latents.flatten()]))[0, 1]
    assert deviations < 0.95 if noise == 0.5 else deviations < 0.8


def test_a_picture_of_the_sde_depends_on_its_seed_alone() -> None:
    def drawn(*seeds: int) -> Tensor:
        noise = SeededNoise(seeds)
        return end(Sde(), noise((2, 4, 4)), [1.0, 0.7, 0.4, 0.0], noise)

    both = drawn(5, 6)
    assert torch.equal(drawn(5, 6), both)
    torch.testing.assert_close(drawn(6)[0], both[1])
    assert not torch.equal(drawn(7)[0], both[0])


def test_the_sde_without_noise_is_eulers_way() -> None:
    sigmas = sampling(Euler(), 9).sigmas(16)
    assert torch.equal(end(Sde(0), start(), sigmas), end(Euler(), start(), sigmas))
    with pytest.raises(UserError, match=r"sampler\.noise=-1: must be at least 0"):
        Sde(-1)


def test_a_pictures_noise_is_its_seeds_whatever_is_drawn_beside_it() -> None:
    noise, alone = SeededNoise([3, 4]), SeededNoise([4])
    for _ in range(2):
        assert torch.equal(noise((2, 3, 3))[1], alone((2, 3, 3))[0])
    first = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(SeededNoise([3])((2, 3, 3)), first)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.integers(1, 12),
    st.sampled_from([1.0, 3.0]),
    st.tuples(st.floats(0, 0.5), st.floats(0.51, 1)),
)
def test_evaluations_are_the_passes_that_are_made(
    name: str, steps: int, scale: float, interval: tuple[float, float]
) -> None:
    seen = 0

    def counting(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        nonlocal seen
        seen += len(latents)
        return latents

    of = sampling(SAMPLERS[name], steps, scale, interval)
    sigmas = of.sigmas(16)
    embeds = EMPTY.expand(3, -1, -1)
    of.draw(counting, start(3), embeds, embeds, sigmas)
    assert seen == 3 * of.evaluations(sigmas)
    if scale == 1:
        assert of.evaluations(sigmas) == (2 * steps - 1 if name == "heun" else steps)
