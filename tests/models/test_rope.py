import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaa.models.rope import rotate, rotation
from tests.helpers.designs import inputs, small

HEAD = 16


def turned(x: Tensor, height: int, width: int, grid: int) -> Tensor:
    return rotate(x, rotation(height, width, x.shape[-2] - height * width, HEAD, grid, x.device))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), others=st.integers(0, 3), grid=st.integers(1, 9))
def test_it_is_a_rotation_of_complex_numbers(height: int, width: int, others: int, grid: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, height * width + others, HEAD, dtype=torch.float64)
    numbers = torch.complex(x[..., : HEAD // 2], x[..., HEAD // 2 :])
    for token in range(height * width):
        row, column = divmod(token, width)
        for pair in range(HEAD // 2):
            place, index = (row, pair) if pair < HEAD // 4 else (column, pair - HEAD // 4)
            angle = place * grid / math.sqrt(height * width) * 10_000 ** (-index / (HEAD // 4))
            numbers[:, token, pair] *= complex(math.cos(angle), math.sin(angle))
    expected = torch.cat([numbers.real, numbers.imag], dim=-1)
    torch.testing.assert_close(turned(x, height, width, grid), expected, atol=1e-5, rtol=1e-5)


def test_scores_depend_on_the_way_between_two_places_alone() -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(1, HEAD, dtype=torch.float64).expand(64, HEAD) for _ in range(2))
    scores = (turned(q, 8, 8, 8) @ turned(k, 8, 8, 8).T).view(8, 8, 8, 8)  # row column row column
    for down, across in ((0, 0), (1, 0), (0, 3), (-2, 5)):
        same = [
            scores[row, column, row + down, column + across]
            for row in range(8)
            for column in range(8)
            if 0 <= row + down < 8 and 0 <= column + across < 8
        ]
        torch.testing.assert_close(torch.stack(same), same[0].expand(len(same)), atol=1e-5, rtol=1e-5)
    assert (scores[0, 0, 0, 1] - scores[0, 0, 1, 0]).abs() > 1e-3


def test_a_larger_picture_is_the_same_area_sampled_more_densely() -> None:
    small_one, large = (rotation(size, size, 0, HEAD, 8, torch.device("cpu")) for size in (8, 16))
    torch.testing.assert_close(large.unflatten(1, (16, 16))[:, ::2, ::2].flatten(1, 2), small_one)
    model = small(positions="rope")
    for height, width in ((2, 2), (4, 4), (7, 9), (1, 12)):
        assert model(*inputs(height, width)).shape == (2, 4, height, width)


def test_lengths_stay_and_half_precision_too() -> None:
    x = torch.randn(2, 3, 12, HEAD)
    torch.testing.assert_close(turned(x, 3, 4, 4).norm(dim=-1), x.norm(dim=-1))
    assert turned(x.bfloat16(), 3, 4, 4).dtype == torch.bfloat16


def test_places_of_latents_matter_and_those_of_words_do_not() -> None:
    model = small(positions="rope")
    latents, prompt_embeds, timestep = inputs()
    plain = model(latents, prompt_embeds, timestep)
    assert not torch.allclose(model(latents.flip(2), prompt_embeds, timestep).flip(2), plain, atol=1e-4)
    torch.testing.assert_close(model(latents, prompt_embeds.flip(1), timestep), plain)


def test_gradients_turn_back() -> None:
    x = torch.randn(2, 12, HEAD, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: turned(x, 3, 4, 4), x)
