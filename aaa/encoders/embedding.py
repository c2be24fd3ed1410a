"""Prompts embedded by any text encoder, and what it gives held against what it is to give."""

from collections.abc import Sequence

from torch import Tensor

from aaa.encoders.protocols import TextEncoder
from aaa.errors import UserError


def embed(text_encoder: TextEncoder, prompts: Sequence[str]) -> tuple[Tensor, list[int]]:
    """What `encode` gives of these prompts.

    Returns:
        prompt_embeds, `B max_length prompt_dim`, and how many tokens each prompt has.

    Raises:
        UserError: if it gives something else, which one's own encoder may.
    """
    given = text_encoder.encode([*prompts])
    wanted = (len(prompts), text_encoder.max_length, text_encoder.prompt_dim)
    encoder = type(text_encoder)
    whose = f"text_encoder: {encoder.__module__}.{encoder.__qualname__}.encode"
    must = (
        f"It must return prompt_embeds, a tensor of prompts x max_length x prompt_dim, {_sides(wanted)} here, and a "
        "list with each prompt's number of tokens."
    )
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Tensor)):
        raise UserError(f"{whose} returned {_said(given)}. {must}")
    prompt_embeds, lengths = given
    if tuple(prompt_embeds.shape) != wanted:
        raise UserError(f"{whose} returned prompt_embeds of {_sides(tuple(prompt_embeds.shape))}. {must}")
    if not isinstance(lengths, list) or len(lengths) != len(prompts):
        raise UserError(
            f"{whose} returned {_said(lengths)} for the numbers of tokens of {len(prompts)} prompts. {must}"
        )
    return prompt_embeds, lengths


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _said(given: object) -> str:
    of = f" of {len(given)}" if isinstance(given, tuple | list) else ""
    return f"{type(given).__name__}{of}"
