"""What a text encoder of one's own gives is held against what it is to give."""

from typing import Any

import pytest
import torch

from aaa.encoders.embedding import embed
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError


class Own:
    """Gives what it is told."""

    prompt_dim, max_length = 3, 4

    def __init__(self, given: Any) -> None:
        self.given = given

    def encode(self, _prompts: list[str]) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(2, 4, 3), "returned Tensor."),
        ((torch.zeros(2, 4, 3),), "returned tuple of 1."),
        ((torch.zeros(2, 5, 3), [1, 1]), "returned prompt_embeds of 2 x 5 x 3."),
        ((torch.zeros(4, 3), [1, 1]), "returned prompt_embeds of 4 x 3."),
        ((torch.zeros(2, 4, 3), [1]), "returned list of 1 for the numbers of tokens of 2 prompts."),
        ((torch.zeros(2, 4, 3), 7), "returned int for the numbers of tokens of 2 prompts."),
    ],
)
def test_what_is_not_as_it_must_be_is_told_with_what_it_must_be(given: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        embed(Own(given), ["a", "b"])
    told = str(refused.value)
    assert told.startswith(f"text_encoder: {__name__}.Own.encode {said} It must return prompt_embeds")
    assert "2 x 4 x 3 here" in told


def test_what_is_as_it_must_be_is_given_on() -> None:
    encoder = WordEmbedding(8, 6)
    embeds, lengths = embed(encoder, ("a red circle", ""))
    again, same = encoder.encode(["a red circle", ""])
    assert torch.equal(embeds, again)
    assert lengths == same
