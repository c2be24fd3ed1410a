"""Qwen3-0.6B as the tutorial uses it: chat template, 128 padded tokens, last hidden state."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aaa.encoders.hidden_states import as_chats, hidden_states, require_chat_template
from aaa.encoders.weights import ModelFiles

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class Qwen3Encoder:
    """Qwen3-0.6B, loaded through DiffSynth's model pool at its first use.

    A prompt becomes the user's turn of a chat without thinking, padded or cut to `max_length` tokens; its
    embeddings are the hidden states after the last layer, padding included.

    Args:
        model_id: the repository on ModelScope and Hugging Face.
        file: the weights inside it.
        max_length: tokens of an embedding.
        dtype: of the weights and arithmetic.
    """

    prompt_dim = 1024

    def __init__(self, model_id: str, file: str, max_length: int, dtype: str = "bfloat16") -> None:
        self.files = ModelFiles(model_id, (file, *TOKENIZER_FILES))
        self.max_length = max_length
        self.dtype = getattr(torch, dtype)
        self.device = "cpu"

    @property
    def weight_files(self) -> Sequence[Path]:
        """Weights and tokenizer."""
        return self.files.paths

    def fetch_files(self) -> None:
        """Download what is missing, if that is possible."""
        self.files.fetch()

    def missing_files(self) -> str | None:
        """What is missing and how to get it, or None."""
        return self.files.missing()

    def to(self, device: str) -> None:
        """Encode on this device."""
        self.device = device

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embeddings, `B max_length 1024`, and each prompt's tokens with its chat template, before cutting."""
        return embed_prompts(prompts, self._tokenizer, self._model, self.max_length, self.device)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.files.folder)
        require_chat_template(tokenizer)
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        return self.files.load("z_image_text_encoder", self.dtype, self.device)


def embed_prompts(
    prompts: list[str], tokenizer: Any, model: Any, max_length: int, device: str | torch.device
) -> tuple[Tensor, list[int]]:
    """Put each prompt into the tokenizer's chat template and take the model's last hidden states.

    Returns:
        Embeddings, `B max_length D` in the model's dtype, and each prompt's tokens with its chat, before cutting.
    """
    embeds, _, lengths = hidden_states(as_chats(prompts, tokenizer), tokenizer, model, max_length, device)
    return embeds, lengths
