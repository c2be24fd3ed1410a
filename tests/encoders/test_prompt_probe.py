"""What a text encoder makes is told from what another makes, and not from the same rounded otherwise."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from aaa.encoders.prompt_probe import probe, same_embeddings


def embeds(prompts: Sequence[str]) -> Tensor:
    """As of a language model: a few activations are a thousand times the others."""
    found = torch.randn(len(prompts), 16, 64, generator=torch.Generator().manual_seed(1))
    found[:, 0, :3] = 3000
    return found


@pytest.mark.parametrize(
    "rounded", [lambda x: x, Tensor.bfloat16, lambda x: x * (1 + 0.02 * torch.randn(x.shape)), lambda x: 1.01 * x]
)
def test_rounding_is_no_change(rounded: Callable[[Tensor], Tensor]) -> None:
    assert same_embeddings(probe(embeds), probe(lambda prompts: rounded(embeds(prompts)).float()))


@pytest.mark.parametrize(
    "changed", [lambda x: 3 * x, lambda x: -x, lambda x: x.roll(1, dims=-1), lambda x: 0 * x, lambda x: x[:, :8]]
)
def test_other_embeddings_are_told(changed: Callable[[Tensor], Tensor]) -> None:
    assert not same_embeddings(probe(embeds), probe(lambda prompts: changed(embeds(prompts))))


def test_what_is_no_number_does_not_spread() -> None:
    nan = probe(lambda prompts: embeds(prompts).index_fill(1, torch.tensor([0]), torch.nan))
    assert torch.tensor(nan).isfinite().all()
