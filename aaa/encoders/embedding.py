"""Prompts embedded by any text encoder, and what it gives held against what it is to give."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.encoders.limits import require_within_limits
from aaa.encoders.protocols import TextEncoder
from aaa.errors import UserError


def embed(text_encoder: TextEncoder, prompts: Sequence[str]) -> tuple[Tensor, list[int]]:
    """What `encode` gives of these prompts.

    Returns:
        prompt_embeds, `B max_length prompt_dim`, and how many tokens each prompt has.

    Raises:
        UserError: if it gives something else, which one's own encoder may, or is asked for what it does not have.
    """
    if isinstance(text_encoder, HuggingFaceTextEncoder):
        # Before it is asked: a GPU that looks beyond the last position takes the whole process with it.
        require_within_limits(text_encoder)
    given = text_encoder.encode([*prompts])
    wanted = (len(prompts), text_encoder.max_length, text_encoder.prompt_dim)
    if (returned := _wrong(given, wanted)) is not None:
        encoder = type(text_encoder)
        raise UserError(
            f"text_encoder: {encoder.__module__}.{encoder.__qualname__}.encode returned {returned}. It must return "
            f"prompt_embeds, a tensor of prompts x max_length x prompt_dim, {_sides(wanted)} here, and a list with "
            "each prompt's number of tokens."
        )
    return given


def _wrong(given: Any, wanted: tuple[int, int, int]) -> str | None:
    """What there is in place of embeddings of the wanted shape and of numbers of tokens; None if these are there."""
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Tensor)):
        return _said(given)
    prompt_embeds, lengths = given
    if tuple(prompt_embeds.shape) != wanted:
        return f"prompt_embeds of {_sides(tuple(prompt_embeds.shape))}"
    if not isinstance(lengths, list) or len(lengths) != wanted[0]:
        return f"{_said(lengths)} for the numbers of tokens of {wanted[0]} prompts"
    return None


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _said(given: object) -> str:
    of = f" of {len(given)}" if isinstance(given, tuple | list) else ""
    return f"{type(given).__name__}{of}"
