"""Contrastive flow matching against its formula written out, and whom it contrasts with whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aaa.objectives.contrastive import Contrastive, next_stranger
from tests.helpers.forward_pass import forward_pass


def test_it_is_minus_the_weighted_error_to_the_next_picture() -> None:
    done = forward_pass(5, captions=[0, 1, 2, 3, 6])
    latents, noise, velocity = done.batch.latents, done.draws.noise, done.velocity
    expected = []
    for i in range(5):
        j = (i + 1) % 5
        squares = [
            (velocity[i, c, y, x] - (noise[j, c, y, x] - latents[j, c, y, x])) ** 2
            for c in range(3)
            for y in range(2)
            for x in range(2)
        ]
        expected.append(-done.weight[i] * sum(squares) / 12)
    torch.testing.assert_close(Contrastive(0.05)(done), torch.stack(expected))


def test_pictures_of_one_caption_are_not_contrasted() -> None:
    # 0 and 1 have one caption, 3 and 4 one picture; nearest ahead are 0 -> 2, 1 -> 2, 2 -> 3, 3 -> 0, 4 -> 0.
    done = forward_pass(5, captions=[7, 7, 8, 9, 5], pictures=[1, 2, 3, 4, 4])
    target = done.draws.noise - done.batch.latents
    others = [2, 2, 3, 0, 0]
    expected = -done.weight * (done.velocity - target[others]).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(Contrastive(0.05)(done), expected)


def test_a_dropped_prompt_is_contrasted_with_none_and_pushes_nothing() -> None:
    done = forward_pass(4, dropped=[2])
    term = Contrastive(0.05)(done)
    assert term[2] == 0
    assert (term[[0, 1, 3]] < 0).all()
    (gradient,) = torch.autograd.grad(term.sum(), done.velocity)
    assert gradient[2].abs().max() == 0
    assert gradient[0].abs().max() > 0


@pytest.mark.parametrize("size", [1, 3])
def test_where_all_have_one_caption_there_is_nothing_to_contrast(size: int) -> None:
    done = forward_pass(size, captions=[5] * size)
    assert torch.equal(Contrastive(0.05)(done), torch.zeros(size))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9))
def test_the_next_stranger_is_the_nearest_ahead_of_where_the_search_begins(samples: list[tuple[int, int]]) -> None:
    found = next_stranger(torch.tensor([a for a, _ in samples]), torch.tensor([b for _, b in samples])).tolist()
    for i, (caption, picture) in enumerate(samples):
        steps = range(1, len(samples))
        begin = sum(caption for caption, _ in samples) % max(len(steps), 1)
        ahead = [(i + step) % len(samples) for step in (*steps[begin:], *steps[:begin])]
        strange = [j for j in ahead if samples[j][0] != caption and samples[j][1] != picture]
        assert found[i] == (strange[0] if strange else i)


def test_where_parts_take_turns_strangers_are_of_every_part() -> None:
    part = torch.arange(32) % 2
    of_own = []
    for batch in range(200):
        captions = 1000 * torch.arange(32) + torch.randint(1000, (32,), generator=torch.Generator().manual_seed(batch))
        of_own.append((part[next_stranger(captions, captions)] == part).float().mean())
    assert torch.stack(of_own).mean().item() == pytest.approx(15 / 31, abs=0.1)
