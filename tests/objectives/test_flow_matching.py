import pytest
import torch
from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler, NoiseLevels, NoiseScheduler
from aaa.objectives.align import Align
from aaa.objectives.contrastive import Contrastive
from aaa.objectives.dispersive import Dispersive
from aaa.objectives.flow_matching import FlowMatching
from aaa.objectives.internal import Internal
from aaa.objectives.perceptual import Perceptual
from aaa.objectives.terms import Term

EMPTY = torch.full((2, 4), -7.0)


def objective(prompt_dropout: float, scheduler: NoiseScheduler | None = None) -> FlowMatching:
    return FlowMatching(scheduler or LinearScheduler(), EMPTY, prompt_dropout, VelocityPrediction())


def loss(prompt_dropout: float, seen: list[Tensor], size: int = 400) -> Tensor:
    def model(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        seen.append(prompt_embeds)
        return torch.zeros_like(latents)

    latents = torch.ones(size, 1, 2, 2)
    batch = Batch.of_strangers(latents, torch.ones(size, 2, 4))
    return objective(prompt_dropout)(model, batch, generator("test"), 0)["velocity"]


def test_dropped_prompts_become_the_empty_prompt_and_no_other() -> None:
    seen: list[Tensor] = []
    loss(0.25, seen)
    dropped = (seen[0] == EMPTY).all(dim=(1, 2))
    assert 0.18 < dropped.float().mean() < 0.32
    assert (seen[0][~dropped] == 1).all()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_same_generator_gives_the_same_losses(share: float) -> None:
    first, again = loss(share, []), loss(share, [])
    assert first.shape == (400,)
    assert torch.equal(first, again)


def test_a_model_that_predicts_zero_has_the_loss_of_the_target() -> None:
    # E |noise - 1|^2 = 2 for standard normal noise.
    assert loss(0.0, [], size=20_000).mean().item() == pytest.approx(2.0, abs=0.05)


def test_weights_multiply_each_samples_loss() -> None:
    class Weighted(LinearScheduler):
        def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
            levels = super().draw(batch_size, generator)
            return levels._replace(weight=levels.weight * torch.arange(batch_size))

    batch = Batch.of_strangers(torch.ones(5, 1, 2, 2), torch.ones(5, 2, 4))

    def model(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        return latents * timestep.view(-1, 1, 1, 1) / 1000

    plain, weighted = (
        objective(0.0, scheduler)(model, batch, generator("x"), 0)["velocity"]
        for scheduler in (LinearScheduler(), Weighted())
    )
    torch.testing.assert_close(weighted, plain * torch.arange(5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_everything_off_it_is_the_plain_weighted_error_to_the_bit(dtype: torch.dtype) -> None:
    """What the objective was before there was anything to turn on, written out."""

    class Weighted(LinearScheduler):
        def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
            levels = super().draw(batch_size, generator)
            return levels._replace(weight=1 + levels.sigma)

    def model(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        return torch.sin(3 * latents + prompt_embeds.mean(dim=(1, 2)).view(-1, 1, 1, 1) + timestep.view(-1, 1, 1, 1))

    off: dict[str, Term | None] = {
        "contrastive": Contrastive(0.0),
        "dispersive": Dispersive(0.0, 9),
        "align": Align(0.0, 9, "hog", "conv", "cosine", False, 32, 3),
        "internal": Internal(0.0, 9, 32, 3),
        "perceptual": Perceptual(0.0),
        "none": None,
    }
    latents, prompt_embeds = torch.randn(7, 3, 4, 4).to(dtype), torch.randn(7, 2, 4).to(dtype)
    ours = FlowMatching(Weighted(), EMPTY.to(dtype), 0.3, VelocityPrediction(), terms=off)
    found = ours(model, Batch.of_strangers(latents, prompt_embeds), generator("off"), 0)

    draws = generator("off")
    dropped = torch.rand(7, generator=draws) < 0.3
    sigma = torch.rand(7, generator=draws)
    noise = torch.randn(latents.shape, generator=draws, dtype=dtype)
    told = torch.where(dropped[:, None, None], EMPTY.to(dtype), prompt_embeds)
    level = sigma.view(-1, 1, 1, 1)
    predicted = model(((1 - level) * latents + level * noise).to(dtype), told, sigma * 1000)
    expected = (1 + sigma) * (predicted.float() - (noise - latents).float()).square().mean(dim=(1, 2, 3))
    assert found.keys() == {"velocity"}
    assert torch.equal(found["velocity"], expected)
    assert (ours.extras, ours.modules) == ({}, {})
