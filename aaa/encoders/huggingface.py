"""Any local text model of transformers: decoders (Qwen, Llama) and encoders (BERT, T5, CLIP) alike."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aaa.encoders.hidden_states import as_chats, hidden_states, require_chat_template
from aaa.errors import UserError, reason
from aaa.tracking.printed import command

CHAT = "chat"
PADDINGS = ("tokens", "zeros")
SUFFIXES = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja"})


class HuggingFaceTextEncoder:
    """A text model loaded with `transformers.AutoModel`, from safetensors only and without running code of its folder.

    Args:
        path: the folder: config.json, *.safetensors and a tokenizer.
        prompt_dim: width of its hidden states.
        max_length: tokens of an embedding; longer prompts are cut.
        layer: whose hidden states: -1 the last, -2 the one before.
        template: `chat` for the tokenizer's chat template, or a text with `{prompt}` in it.
        padding: `tokens` keeps the hidden states of padding as the tutorial does, `zeros` blanks them.
        dtype: of weights and arithmetic.
    """

    def __init__(
        self,
        path: str,
        prompt_dim: int,
        max_length: int,
        layer: int = -1,
        template: str = "{prompt}",
        padding: str = "zeros",
        dtype: str = "bfloat16",
    ) -> None:
        if template != CHAT and "{prompt}" not in template:
            raise UserError(
                f"encoder.text_encoder.template={template!r}: must be {CHAT}, or a text with {{prompt}} in it."
            )
        if padding not in PADDINGS:
            raise UserError(f"encoder.text_encoder.padding={padding}: must be one of {', '.join(PADDINGS)}.")
        self.path = Path(path)
        self.prompt_dim, self.max_length = prompt_dim, max_length
        self.layer, self.template, self.padding = layer, template, padding
        self.dtype = getattr(torch, dtype)
        self.device = "cpu"

    @property
    def weight_files(self) -> Sequence[Path]:
        """Weights, tokenizer and configs: everything that makes the embeddings; none where there is no folder."""
        return sorted(file for file in self.path.glob("*") if file.suffix in SUFFIXES)

    def fetch_files(self) -> None:
        """Nothing: the folder is the user's own."""

    def missing_files(self) -> str | None:
        """What is missing and how to get it, or None."""
        if not self.path.is_dir():
            return f"encoder.text_encoder.path={self.path}: there is no such folder (looked in {self.path.absolute()})."
        missing = [name for name in ("config.json", "*.safetensors", "tokenizer*") if not any(self.path.glob(name))]
        if not missing:
            return None
        return (
            f"encoder.text_encoder.path={self.path}: has no {', '.join(missing)}.\n    "
            f"{command('hf', 'download', 'OWNER/MODEL', '--local-dir', str(self.path))}   fetches a whole model."
        )

    def to(self, device: str) -> None:
        """Encode on this device."""
        self.device = device

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embeddings, `B max_length prompt_dim`, and each prompt's tokens within its template, before cutting.

        Raises:
            UserError: if the model cannot be loaded, or is not of this width.
        """
        if self.template == CHAT:
            texts = as_chats(prompts, self._tokenizer)
        else:
            texts = [self.template.replace("{prompt}", prompt) for prompt in prompts]
        embeds, mask, lengths = hidden_states(
            texts, self._tokenizer, self._model, self.max_length, self.device, self.layer
        )
        if embeds.shape[-1] != self.prompt_dim:
            raise UserError(f"encoder.prompt_dim={self.prompt_dim}, but the hidden states are {embeds.shape[-1]} wide.")
        return embeds * mask[..., None] if self.padding == "zeros" else embeds, lengths

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
        except Exception as error:
            raise UserError(f"{self.path}: its tokenizer cannot be loaded ({reason(error)}).") from error
        if self.template == CHAT:
            require_chat_template(tokenizer)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise UserError(
                f"encoder.text_encoder.path={self.path}: its tokenizer has no pad_token, eos_token or unk_token to "
                "fill short prompts up with. Name one in its tokenizer_config.json."
            )
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # it would stand between ours
        try:
            model = AutoModel.from_pretrained(self.path, dtype=self.dtype, local_files_only=True, use_safetensors=True)
        except Exception as error:
            raise UserError(f"{self.path}: transformers cannot load it ({reason(error)}).") from error
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        model = getattr(model, "text_model", model)  # of CLIP and its like
        return model.to(self.device).eval()
