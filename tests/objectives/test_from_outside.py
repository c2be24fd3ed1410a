"""Objectives and samplers of one's own, as docs/my_project has them."""

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from aaa.config.upgrade import upgrade
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler, Sampler
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler
from tests.helpers.composed import compose
from tests.helpers.forward_pass import forward_pass

BEFORE = (  # what there was no key for then, or was not the default
    "encoder=pixel",
    "objective=velocity",
    "objective.terms.align.after_block=2",
    "objective.terms.internal.model_head=null",
)
pytestmark = pytest.mark.usefixtures("my_project")


def growth(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
    """A flow whose end is known: dx/dsigma = x, so that x(0) = x(1) / e."""
    return latents


def error_of(sampler: Sampler, steps: int) -> float:
    sampling = Sampling(LinearScheduler(), sampler, PromptGuidance(1), VelocityPrediction(), steps)
    start, empty = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1)
    return abs(sampling.draw(growth, start, empty, empty, sampling.sigmas(1)).item() - torch.e**-1)


@pytest.mark.parametrize(("name", "order"), [("Euler", 1), ("Midpoint", 2)])
def test_halving_the_steps_shows_a_samplers_order(name: str, order: int) -> None:
    import my_objective  # type: ignore[import-not-found]

    sampler = Euler() if name == "Euler" else my_objective.Midpoint()
    assert error_of(sampler, 16) / error_of(sampler, 32) == pytest.approx(2**order, rel=0.1)


def test_the_velocity_of_a_model_that_knows_the_noise() -> None:
    import my_objective

    clean, noise = torch.linspace(-1, 1, 12).view(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    sigma = torch.tensor([0.4])
    noised = 0.6 * clean + 0.4 * noise
    found = my_objective.NoisePrediction().velocity(lambda *_: noise, noised, torch.zeros(1, 1, 1), 400.0, sigma)
    torch.testing.assert_close(found, noise - clean)


def test_a_term_of_ones_own_adds_to_the_loss_where_there_is_much_noise() -> None:
    import my_objective

    done = forward_pass(6)
    found = my_objective.Size(0.1, above_sigma=0.5)(done)
    sigmas = done.draws.levels.sigma.tolist()
    expected = [v.square().mean().item() if s >= 0.5 else 0 for v, s in zip(done.velocity, sigmas, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def from_a_file() -> DictConfig:
    """A config as the file of a run of squares of 4 x 4 has it, without types."""
    config = OmegaConf.create(OmegaConf.to_container(compose("encoder=pixel"), resolve=False))
    assert isinstance(config, DictConfig)
    return config


def test_a_config_from_before_there_were_these_groups_means_what_it_meant() -> None:
    old = from_a_file()
    for group in ("objective", "sampler", "guidance"):
        del old[group]
    new = compose(*BEFORE)
    upgraded = upgrade(old)
    for group in ("objective", "sampler", "guidance"):
        assert upgraded[group] == new[group]


def test_a_model_from_before_there_was_a_last_level_draws_what_it_drew() -> None:
    old = from_a_file()
    assert upgrade(compose()).sampling.last_sigma is None
    del old.sampling.last_sigma
    assert upgrade(old).sampling.last_sigma == 0


def test_a_run_from_before_steps_were_recorded_goes_on_without() -> None:
    """Its last digits would be others."""
    old = from_a_file()
    assert upgrade(compose()).trainer.cuda_graph == "auto"
    del old.trainer.cuda_graph
    assert upgrade(old).trainer.cuda_graph is False


def test_a_term_can_be_turned_on_in_a_config_from_before_there_were_terms() -> None:
    old = from_a_file()
    old.objective = {"terms": {"contrastive": {"weight": 0.05}}}  # what +objective.terms.contrastive.weight=0.05 gives
    new = compose("objective.terms.contrastive.weight=0.05", *BEFORE)
    assert upgrade(old).objective == new.objective
