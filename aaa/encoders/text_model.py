"""Any local text model of transformers, told each prompt as it was itself trained to be told one.

It is a `HuggingFaceTextEncoder` but for what a tokenizer may add, cut or leave out. That one stays as it is, for models
that were trained with its embeddings, and for caches, whose fingerprints hang on its code.
"""

from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from aaa.encoders.hidden_states import as_chats, hidden_states
from aaa.encoders.huggingface import CHAT, HuggingFaceTextEncoder
from aaa.errors import UserError

MASK = "attention_mask"


class TextModelEncoder(HuggingFaceTextEncoder):
    """A text model whose chats begin once, whose prompts are cut at their end, and whose padding is masked.

    The arguments are those of `HuggingFaceTextEncoder`.
    """

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embeddings, `B max_length prompt_dim`, and each prompt's tokens within its template, before cutting.

        Raises:
            UserError: if the model cannot be loaded, or is not of this width.
        """
        is_chat = self.template == CHAT
        if is_chat:
            texts = as_chats(prompts, self._tokenizer)
        else:
            texts = [self.template.replace("{prompt}", prompt) for prompt in prompts]
        # Llama's and Gemma's templates write the token that begins a text, which their tokenizers would put before it.
        tokenize = partial(self._tokenizer, add_special_tokens=not is_chat)
        embeds, mask, lengths = hidden_states(texts, tokenize, self._model, self.max_length, self.device, self.layer)
        if embeds.shape[-1] != self.prompt_dim:
            raise UserError(f"encoder.prompt_dim={self.prompt_dim}, but the hidden states are {embeds.shape[-1]} wide.")
        return embeds * mask[..., None] if self.padding == "zeros" else embeds, lengths

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = super()._tokenizer
        tokenizer.truncation_side = "right"
        # Some leave the mask out, as SigLIP's kind does.
        tokenizer.model_input_names = list(dict.fromkeys([*tokenizer.model_input_names, MASK]))
        return tokenizer
