import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaa.models.rope import of_words, rotate, rotation
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


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5), words=st.integers(1, 6), grid=st.integers(1, 9))
def test_words_stand_on_the_diagonal_beyond_the_picture(height: int, width: int, words: int, grid: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(words, HEAD, dtype=torch.float64)
    numbers = torch.complex(x[:, : HEAD // 2], x[:, HEAD // 2 :])
    for word in range(words):
        place = max(height, width) * grid / math.sqrt(height * width) + word
        for pair in range(HEAD // 2):
            angle = place * 10_000 ** (-(pair % (HEAD // 4)) / (HEAD // 4))
            numbers[word, pair] *= complex(math.cos(angle), math.sin(angle))
    expected = torch.cat([numbers.real, numbers.imag], dim=-1)
    found = rotate(x, of_words(height, width, words, HEAD, grid, x.device))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_scores_of_words_depend_on_how_far_apart_they_are_alone() -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(1, HEAD, dtype=torch.float64).expand(6, HEAD) for _ in range(2))
    turns = of_words(3, 4, 6, HEAD, 4, q.device)
    scores = rotate(q, turns) @ rotate(k, turns).T
    for apart in range(-5, 6):
        same = scores.diagonal(apart)
        torch.testing.assert_close(same, same[:1].expand_as(same), atol=1e-5, rtol=1e-5)
    assert (scores[0, 0] - scores[0, 1]).abs() > 1e-3


@pytest.mark.parametrize(
    "switches", [{}, {"positions": "rope"}, {"joint": "mmdit"}, {"joint": "cross"}, {"text_refiner": 1}]
)
def test_the_order_of_words_matters_where_they_turn(switches: dict[str, Any]) -> None:
    latents, prompt_embeds, timestep = inputs()
    plain, turning = small(**switches), small(text_positions="rope", **switches)
    assert plain.state_dict().keys() == turning.state_dict().keys()
    torch.testing.assert_close(plain(latents, prompt_embeds.flip(1), timestep), plain(latents, prompt_embeds, timestep))
    assert not torch.allclose(
        turning(latents, prompt_embeds.flip(1), timestep), turning(latents, prompt_embeds, timestep), atol=1e-4
    )


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_where_words_turn_all_else_stays_as_it_is(positions: str) -> None:
    model = small(positions=positions, text_positions="rope", text_refiner=1, registers=2)
    assert model.text_refiner is not None
    told: list[Tensor] = []
    for block in (model.blocks[0], model.text_refiner.blocks[0]):
        block.register_forward_pre_hook(lambda _block, given: told.append(given[1].rotation))
    model(*inputs(3, 4))
    of_refiner, of_block = told  # the refiner comes first
    words, device = of_words(3, 4, 5, 8, 4, torch.device("cpu")), torch.device("cpu")
    assert torch.equal(of_refiner, words)
    assert torch.equal(of_block[:, 14:], words)
    still = torch.stack([torch.ones(12, 4), torch.zeros(12, 4)])
    assert torch.equal(of_block[:, :12], still if positions == "learned" else rotation(3, 4, 0, 8, 4, device))
    assert torch.equal(of_block[:, 12:14], still[:, :2])
