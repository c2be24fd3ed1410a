"""Alignment of hidden states to targets, written out with loops."""

import math

import pytest
import torch
from torch import Tensor, nn

from aaa.errors import UserError
from aaa.objectives.align import Align
from aaa.objectives.terms import ForwardPass
from tests.helpers.forward_pass import forward_pass


def align(weight: float = 0.5, target: str = "latents", projector: str = "linear", **more: object) -> Align:
    settings = {"distance": "cosine", "spatial_norm": False} | more
    return Align(weight, 1, target, projector, dim=5, latent_channels=3, **settings)  # type: ignore[arg-type]


def passed() -> ForwardPass:
    hidden = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(9)).requires_grad_()
    return forward_pass(2, hidden={1: hidden})


def projected(term: Align, hidden: Tensor) -> Tensor:
    """`B (H W) F` of a linear projector."""
    assert isinstance(term.module, nn.Conv2d)
    assert term.module.bias is not None
    return hidden @ term.module.weight[:, :, 0, 0].T + term.module.bias


@pytest.mark.parametrize("spatial_norm", [False, True])
@pytest.mark.parametrize("distance", ["cosine", "smooth_l1"])
def test_it_is_the_distance_at_each_place(distance: str, spatial_norm: bool) -> None:
    done, term = passed(), align(distance=distance, spatial_norm=spatial_norm)
    guesses = projected(term, done.hidden[1]).detach()
    expected = []
    for picture, guess in zip(done.batch.latents, guesses, strict=True):
        target = picture.reshape(3, 4).T.clone()  # places, row by row, by channel
        if spatial_norm:
            for channel in range(3):
                values = target[:, channel].tolist()
                mean = sum(values) / 4
                deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 4)
                target[:, channel] = torch.tensor([(value - mean) / deviation for value in values])
        if distance == "cosine":
            places = [1 - (g @ t / (g.norm() * t.norm())).item() for g, t in zip(guess, target, strict=True)]
        else:
            apart = (guess - target).abs()
            places = [(d**2 / 2 if d < 1 else d - 0.5) for d in apart.flatten().tolist()]
        expected.append(sum(places) / len(places))
    assert term(done).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("distance", ["cosine", "smooth_l1"])
def test_tokens_that_skipped_the_block_do_not_count(distance: str) -> None:
    (hidden,) = passed().hidden.values()
    computed = torch.tensor([[True, False, False, True], [False, True, False, False]])
    done = forward_pass(2, hidden={1: hidden}, computed={1: computed})
    term = align(distance=distance)
    found = term(done)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    assert torch.equal(gradient.abs().sum(-1) > 0, computed)
    both = [term(forward_pass(2, hidden={1: hidden}, computed={1: computed & place})) for place in corners(computed)]
    assert found[0].item() == pytest.approx((both[0][0] + both[1][0]).item() / 2)


def corners(computed: Tensor) -> tuple[Tensor, Tensor]:
    """The first sample's two places, one at a time."""
    first, last = torch.ones_like(computed), torch.ones_like(computed)
    first[0, 3], last[0, 0] = False, False
    return first, last


def test_a_convolution_sees_the_neighbours_that_lie_beside_a_place() -> None:
    done, term = passed(), align(projector="conv")
    assert term.module is not None
    (hidden,) = done.hidden.values()
    (gradient,) = torch.autograd.grad(term(done).sum(), hidden)
    assert gradient.abs().min() > 0
    grid = hidden.detach().reshape(2, 2, 2, 5).permute(0, 3, 1, 2)
    target = done.batch.latents
    expected = 1 - torch.nn.functional.cosine_similarity(term.module(grid), target, dim=1)
    torch.testing.assert_close(term(done), expected.mean(dim=(1, 2)))


@pytest.mark.parametrize(("cells", "name", "channels"), [(1, "hog", 36), (2, "hog_2x2", 144)])
def test_it_aligns_to_what_the_cache_holds_of_the_picture(cells: int, name: str, channels: int) -> None:
    term = align(target="hog", cells=cells)
    assert term.extras[name].channels == channels
    done = passed()
    features = torch.rand(2, channels, 2, 2)
    done = done._replace(batch=done.batch._replace(extras={name: features}))
    guesses = projected(term, done.hidden[1])
    expected = 1 - torch.nn.functional.cosine_similarity(guesses, features.flatten(2).transpose(1, 2), dim=2)
    torch.testing.assert_close(term(done), expected.mean(dim=1))


def test_a_flat_target_gives_no_nan() -> None:
    done, term = passed(), align(spatial_norm=True)
    flat = done._replace(batch=done.batch._replace(latents=torch.ones(2, 3, 2, 2)))
    value = term(flat)
    assert value.tolist() == [1, 1]
    (gradient,) = torch.autograd.grad(value.sum(), done.hidden[1])
    assert gradient.isfinite().all()


def test_what_is_off_trains_nothing_and_draws_nothing() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert align(weight=0.0).module is None
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UserError, match=r"objective\.terms\.align\.target=dino: must be one of hog, latents, vision"):
        align(target="dino")
