"""Prompts to hidden states of a language model: what every text encoder of that kind has in common."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aaa.errors import UserError


def require_chat_template(tokenizer: Any) -> None:
    """Refuse a tokenizer that cannot make chats.

    Raises:
        UserError: naming its folder.
    """
    if not tokenizer.chat_template:
        raise UserError(f"{tokenizer.name_or_path}: the tokenizer has no chat template, which prompts are put into.")


def as_chats(prompts: Sequence[str], tokenizer: Any) -> list[str]:
    """Each prompt as the user's turn of a chat that the model is about to answer, without thinking first."""
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        for prompt in prompts
    ]


def hidden_states(
    texts: list[str], tokenizer: Any, model: Any, max_length: int, device: str | torch.device, layer: int = -1
) -> tuple[Tensor, Tensor, list[int]]:
    """The hidden states of a layer for each text, padded or cut to `max_length` tokens.

    Args:
        texts: B of them.
        tokenizer: of Hugging Face.
        model: returns `hidden_states`; on `device`.
        max_length: tokens to pad or cut to.
        device: of the model.
        layer: 0 for the embeddings, -1 for the last layer, -2 for the one before.

    Returns:
        Hidden states, `B max_length D` in the model's dtype, padding included; the attention mask, `B max_length`;
        and each text's tokens before cutting.
    """
    lengths = [len(tokens) for tokens in tokenizer(texts)["input_ids"]]
    # Some tokenizers pad on the left; prompts are trimmed on the right.
    padded = {"padding": "max_length", "padding_side": "right"}
    inputs = tokenizer(texts, return_tensors="pt", truncation=True, max_length=max_length, **padded).to(device)
    output = model(**inputs, output_hidden_states=True, use_cache=False)
    return output.hidden_states[layer], inputs["attention_mask"], lengths
