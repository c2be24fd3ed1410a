"""Queries and keys as rows of tokens."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaa.models import rope
from aaa.models.qk_norm import QKNorm
from aaa.models.rope import rotate, rotation
from aaa.models.token_rows import as_rows, from_rows, has_narrow_heads

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.sampled_from([4, 8, 16, 32]))


def projected(shape: tuple[int, int, int, int], seed: int, *, dense: bool) -> Tensor:
    """Queries and keys of 3 x 3 latents and other tokens, as a projection lays them out, beside values or alone."""
    batch, heads, others, head_dim = shape
    draws = torch.Generator().manual_seed(seed)
    made = torch.randn(batch, 9 + others, 2 if dense else 3, heads, head_dim, generator=draws).bfloat16()
    return made.permute(2, 0, 3, 1, 4)[:2].requires_grad_()


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 99), dense=st.booleans(), routed=st.booleans())
def test_a_rotation_is_the_same_to_the_bit(
    shape: tuple[int, int, int, int], seed: int, dense: bool, routed: bool
) -> None:
    x = projected(shape, seed, dense=dense)
    assert has_narrow_heads(x)
    angles = rotation(3, 3, shape[2], shape[3], 8, x.device)
    if routed:  # other tokens of each sample, so that other angles are theirs
        places = torch.stack([torch.randperm(x.shape[3]) for _ in range(x.shape[1])])
        angles = torch.stack([part[places][:, None] for part in angles])
    cos, sin = angles.bfloat16()
    ours, theirs = rotate(x, angles), rope._Rotate.apply(x, cos, sin)
    assert torch.equal(ours, theirs)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).bfloat16()
    assert torch.equal(*(torch.autograd.grad(turned, x, grad)[0] for turned in (ours, theirs)))


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 99), dense=st.booleans())
def test_normalised_as_rows_is_as_near_to_what_is_exact(
    shape: tuple[int, int, int, int], seed: int, dense: bool
) -> None:
    x = projected(shape, seed, dense=dense)
    draws = torch.Generator().manual_seed(seed)
    norm = QKNorm(shape[3])
    with torch.no_grad():
        for scale in norm.parameters():
            scale.copy_(1 + 0.1 * torch.randn(shape[3], generator=draws))
    grad = torch.randn(x.shape, generator=draws).bfloat16()
    ours = [(made := norm(x)), *torch.autograd.grad(made, [x, *norm.parameters()], grad)]
    exact_x = x.detach().double().requires_grad_()
    norm = norm.double()
    exact = [(made := norm(exact_x)), *torch.autograd.grad(made, [exact_x, *norm.parameters()], grad.double())]
    for our, true in zip(ours, exact, strict=True):
        assert (our.double() - true).norm() <= 0.02 * true.norm() + 1e-3


def test_only_narrow_heads_in_bf16_are_taken_as_rows() -> None:
    x = torch.zeros(2, 1, 3, 5, 16)
    assert not has_narrow_heads(x)
    assert has_narrow_heads(x.bfloat16())
    assert not has_narrow_heads(torch.zeros(2, 1, 3, 5, 64).bfloat16())
    assert not has_narrow_heads(x[0].bfloat16())
    assert not has_narrow_heads(x.bfloat16().to("meta"))


def test_rows_are_those_of_the_projection() -> None:
    made = torch.randn(2, 5, 2 * 3 * 4)
    x = made.unflatten(-1, (2, 3, 4)).permute(2, 0, 3, 1, 4)
    assert torch.equal(as_rows(x), made)
    assert as_rows(x).data_ptr() == made.data_ptr(), "a view"
    assert torch.equal(from_rows(as_rows(x), x.shape), x)
