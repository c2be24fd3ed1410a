"""What becomes of a prompt hangs on the prompt alone, whatever is remembered."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aaa.encoders.prompt_embedder import AT_ONCE, PromptEmbedder
from aaa.encoders.prompt_lengths import lengths_alone
from aaa.encoders.words import WordEmbedding

CPU = torch.device("cpu")
WORDS = WordEmbedding(8, 3)
OF_ONE = 3 * 8 * 2  # bytes, as float16
PROMPTS = st.lists(
    st.sampled_from(["", "a", "b", "a b", "b a", "c d e f", "g", "h", "i", "j"]), min_size=1, max_size=24
)


class Counting(WordEmbedding):
    """Words, noting which prompts are embedded at once."""

    def __init__(self) -> None:
        super().__init__(8, 3)
        self.batches: list[list[str]] = []

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        self.batches.append(prompts)
        return super().encode(prompts)

    def embedded(self) -> list[str]:
        """Prompts since this was last asked, without what fills batches up."""
        prompts = [prompt for batch in self.batches for prompt in batch if prompt]
        self.batches.clear()
        return prompts


class Neighbourly(Counting):
    """Whose prompts become other numbers beside others, as by rounding."""

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        embeds, lengths = super().encode(prompts)
        return embeds + 0.01 * sum(map(len, prompts)), lengths


class PlaceMatters(Counting):
    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        embeds, lengths = super().encode(prompts)
        return embeds + torch.arange(len(prompts))[:, None, None], lengths


def rounded(prompts: Sequence[str]) -> Tensor:
    return WORDS.encode([*prompts])[0].half().float()


@given(st.lists(PROMPTS, min_size=1, max_size=6), st.integers(0, 12))
def test_whatever_is_remembered_prompts_are_what_the_encoder_makes_of_them(calls: list[list[str]], room: int) -> None:
    embedder = PromptEmbedder(WORDS, torch.float16, CPU, remembered_bytes=room * OF_ONE)
    assert embedder.remembers == (room > 0)
    for prompts in calls:
        given = embedder(prompts)
        assert given.dtype == torch.float32
        assert torch.equal(given, rounded(prompts))
    assert torch.equal(embedder.empty.float(), rounded([""])[0])


def test_prompts_of_late_are_embedded_once_and_those_of_long_ago_again() -> None:
    encoder = Counting()
    embedder = PromptEmbedder(encoder, torch.float16, CPU, remembered_bytes=2 * OF_ONE)
    encoder.embedded()
    asked = [(["a", "b", "a"], ["a", "b"]), (["b", "a"], []), (["c"], ["c"]), (["a", "c"], []), (["b"], ["b"])]
    for prompts, embedded in asked:
        embedder(prompts)
        assert encoder.embedded() == embedded, prompts


def test_all_batches_are_of_one_size() -> None:
    encoder = Counting()
    embedder = PromptEmbedder(encoder, torch.float16, CPU)
    embedder([str(number) for number in range(AT_ONCE + 1)])
    embedder(["one more"])
    assert {len(batch) for batch in encoder.batches} == {AT_ONCE}


@pytest.mark.parametrize("encoder", [Neighbourly(), PlaceMatters()])
def test_nothing_is_remembered_where_neighbours_or_places_matter(encoder: Counting) -> None:
    """A run that is resumed, which remembers nothing, would not be the one that was stopped."""
    embedder = PromptEmbedder(encoder, torch.float16, CPU)
    assert not embedder.remembers
    once = embedder(["a", "b"])
    embedder(["b"])
    assert torch.equal(embedder(["a", "b"]), once)


def test_it_is_the_same_within_autocast() -> None:
    embedder = PromptEmbedder(WORDS, torch.float16, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        embedder(["a"])
        assert torch.equal(embedder(["a", "b"]), rounded(["a", "b"]))


@pytest.mark.parametrize("encoder", [WORDS, Counting(), Neighbourly()])
def test_lengths_alone_are_those_of_the_encoder(encoder: WordEmbedding) -> None:
    alone = lengths_alone(encoder)
    prompts = ["", "a b", "a b c d e"]
    embeds, lengths = alone.encode(prompts)
    assert embeds.shape == (3, 3, 0)
    assert (alone.max_length, alone.prompt_dim) == (3, 0)
    assert lengths == encoder.encode(prompts)[1] == [0, 2, 5]
