"""The predicted picture compared with the true one through something that is frozen."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.prediction import CleanPrediction, Prediction, VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler
from aaa.encoders.differentiable_vision import DifferentiableVision
from aaa.encoders.pixel import PixelVAE
from aaa.errors import UserError
from aaa.objectives.costs import training_flops
from aaa.objectives.flow_matching import FlowMatching
from aaa.objectives.perceptual import Perceptual, pictures_of
from aaa.objectives.terms import ForwardPass
from tests.helpers.designs import small
from tests.helpers.flops import counted_flops
from tests.helpers.forward_pass import forward_pass
from tests.helpers.pretrained import make_vision_model


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> DifferentiableVision:
    return DifferentiableVision(str(make_vision_model(tmp_path_factory.mktemp("models") / "dinov2")))


def term_of(target: str, vision: DifferentiableVision, weight: float = 1.0, below: float = 0.5) -> Perceptual:
    return Perceptual(weight, target, below, cell_pixels=1, vision=vision)


def with_velocity(done: ForwardPass, velocity: Tensor) -> ForwardPass:
    return done._replace(velocity=velocity)


TARGETS = pytest.mark.parametrize("target", ["hog", "vision"])


@TARGETS
def test_the_true_picture_is_at_no_distance_and_noise_keeps_others_out(
    target: str, vision: DifferentiableVision
) -> None:
    done = forward_pass(6)
    sigma = done.draws.levels.sigma
    assert 0 < (sigma < 0.5).sum() < 6
    found = term_of(target, vision)(done)
    assert found.shape == (6,)
    assert torch.equal(found > 0, sigma < 0.5)
    everywhere = term_of(target, vision, below=1.0)(done)
    assert everywhere.min() > 0
    assert torch.equal(everywhere[sigma < 0.5], found[sigma < 0.5])
    right = term_of(target, vision, below=1.0)(with_velocity(done, done.draws.noise - done.batch.latents))
    assert right.abs().max() < 1e-5


def test_distances_of_histograms_are_a_quarter_of_what_cosines_say() -> None:
    """As is documented, and what the weights of the ledger's rows are of."""
    stripes = torch.where(torch.arange(16) % 8 < 4, 1.0, -1.0).expand(1, 3, 16, 16)
    term = Perceptual(1.0, cell_pixels=4)
    along, across = term._features(stripes), term._features(stripes.transpose(2, 3))
    assert F.cosine_similarity(along, across, dim=1).abs().max() < 1e-5
    assert ((along - across).square().sum(dim=1) / 2).mean().item() == pytest.approx(1 / 4, rel=0.05)


@TARGETS
def test_its_gradient_leads_to_the_true_picture(target: str, vision: DifferentiableVision) -> None:
    done, term = forward_pass(6), term_of(target, vision)
    found = term(done)
    (gradient,) = torch.autograd.grad(found.sum(), done.velocity)
    counts = done.draws.levels.sigma < 0.5
    assert torch.equal(gradient.abs().amax(dim=(1, 2, 3)) > 0, counts)
    size = gradient.square().sum(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-9)
    nearer = term(with_velocity(done, done.velocity - 0.01 * gradient / size))
    assert (nearer < found)[counts].all()


@TARGETS
def test_a_micro_batch_is_a_part_of_the_batch(target: str, vision: DifferentiableVision) -> None:
    done, term = forward_pass(6), term_of(target, vision)

    def part(places: slice) -> Tensor:
        levels = done.draws.levels
        levels = levels._replace(sigma=levels.sigma[places])
        draws = done.draws._replace(levels=levels, noise=done.draws.noise[places])
        batch = done.batch._replace(latents=done.batch.latents[places])
        return term(done._replace(batch=batch, draws=draws, velocity=done.velocity[places]))

    parts = torch.cat([part(slice(2)), part(slice(2, 6))])
    torch.testing.assert_close(parts, term(done), atol=1e-6, rtol=1e-4)


@TARGETS
def test_it_is_computed_in_float32_whatever_the_model_is_run_in(target: str, vision: DifferentiableVision) -> None:
    done, term = forward_pass(6), term_of(target, vision)
    with torch.autocast("cpu", torch.bfloat16):
        inside = term(done)
    assert torch.equal(inside, term(done))
    half = done._replace(
        batch=done.batch.as_dtype(torch.bfloat16),
        draws=done.draws._replace(noise=done.draws.noise.bfloat16()),
        velocity=done.velocity.detach().bfloat16(),
    )
    assert term(half).dtype == torch.float32
    assert term(half).tolist() == pytest.approx(term(done).tolist(), rel=0.1, abs=0.01)


class Kept(Perceptual):
    """Keeps what it was given."""

    def __call__(self, done: ForwardPass) -> Tensor:
        self.done = done
        return super().__call__(done)


@pytest.mark.parametrize("prediction", [VelocityPrediction(), CleanPrediction(0.2)])
def test_the_predicted_picture_is_a_clean_models_output_and_follows_from_a_velocity(prediction: Prediction) -> None:
    latents, output = torch.randn(2, 8, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    term = Kept(1.0, cell_pixels=1)
    objective = FlowMatching(LinearScheduler(), torch.zeros(2, 4), 0.0, prediction, terms={"perceptual": term})
    objective(lambda *_: output, Batch.of_strangers(latents, torch.zeros(8, 2, 4)), generator("kept"), 0)
    found, sigma = term.done.predicted_latents, term.done.draws.levels.sigma
    far = sigma > 0.2
    assert 0 < far.sum() < 8
    if isinstance(prediction, CleanPrediction):
        torch.testing.assert_close(found[far], output[far], atol=1e-5, rtol=1e-4)
    else:
        noised = torch.lerp(latents, term.done.draws.noise, sigma.view(-1, 1, 1, 1))
        torch.testing.assert_close(found, noised - sigma.view(-1, 1, 1, 1) * output)


def test_latents_that_are_pixels_are_pictures_and_others_are_refused() -> None:
    images = torch.rand(2, 3, 8, 16)
    for side in (1, 2, 8):
        assert torch.equal(pictures_of(PixelVAE(side).encode(images)), images)
    for channels in (2, 4, 16, 128):
        with pytest.raises(UserError, match=rf"latents of {channels} channels are no pixels\. Use encoder=pixel"):
            pictures_of(torch.zeros(1, channels, 2, 2))


def test_the_network_is_frozen_and_no_part_of_what_is_trained(vision: DifferentiableVision) -> None:
    term = term_of("vision", vision)
    objective = FlowMatching(LinearScheduler(), torch.zeros(2, 4), 0.0, VelocityPrediction(), terms={"p": term})
    assert (objective.modules, objective.extras) == ({}, {})
    term(forward_pass(6)).sum().backward()
    weights = list(vision._loaded[0].parameters())
    assert weights
    assert not any(weight.requires_grad or weight.grad is not None for weight in weights)


def test_its_flops_are_those_that_torch_counts_of_a_step(vision: DifferentiableVision) -> None:
    """Two passes forward and one back: of one that reaches the picture, past weights that get no gradient."""
    term, done = term_of("vision", vision), forward_pass(1)
    with counted_flops() as counter:
        term(done).sum().backward()
    model, empty = small(), torch.zeros(5, 8)
    costs = [
        training_flops(
            model,
            FlowMatching(LinearScheduler(), empty, 0.0, VelocityPrediction(), terms={"p": one}),
            *(3, 4, 5),
            channels=4,
            text_dim=8,
        )
        for one in (term, term_of("hog", vision))
    ]
    assert costs[1] == 3 * small().forward_flops(3, 4, 5)  # of histograms there is nothing to count
    assert costs[0] - costs[1] == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_what_is_off_loads_nothing_and_what_is_not_there_is_refused(tmp_path: Path) -> None:
    Perceptual(0.0, "vision")
    Perceptual(1.0, "hog", vision=DifferentiableVision(str(tmp_path / "none")))
    with pytest.raises(UserError, match=r"objective\.terms\.perceptual\.target=lpips: must be one of hog, vision"):
        Perceptual(0.0, "lpips")
    with pytest.raises(UserError, match=r"perceptual\.target=vision: objective\.terms\.perceptual\.vision names no"):
        Perceptual(1.0, "vision")
    with pytest.raises(UserError, match=r"objective\.terms\.perceptual\.vision\.path=.*none: no model there"):
        Perceptual(1.0, "vision", vision=DifferentiableVision(str(tmp_path / "none"))).flops(1, 1)
