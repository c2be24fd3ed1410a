"""Prompt embeddings without a language model: each word is a fixed random vector beside its position."""

import hashlib
import math
import re

import torch
from torch import Tensor

from aaa.errors import UserError

WORD = re.compile(r"\w+|[^\w\s]")


class WordEmbedding:
    """Embeds any text word by word: a random unit-variance vector drawn from the word's hash, then its position.

    Hashing instead of a vocabulary (the hashing trick, Weinberger et al. 2009) needs no fitting and no
    download, and has a vector for every word there is. Case is kept out of it: `Red` and `red` are one word.

    Args:
        prompt_dim: width of the embeddings; a quarter of it carries the position.
        max_length: tokens of an embedding; longer prompts are cut, shorter ones padded with zeros.
    """

    def __init__(self, prompt_dim: int, max_length: int) -> None:
        if prompt_dim < 8 or prompt_dim % 8:
            raise UserError(f"encoder.prompt_dim={prompt_dim}: must be a multiple of 8.")
        self.prompt_dim = prompt_dim
        self.max_length = max_length
        self._positions = _sinusoids(max_length, prompt_dim // 4)
        self._vectors: dict[str, Tensor] = {}

    def tokenize(self, prompt: str) -> list[str]:
        """Words and punctuation marks of the prompt, in lower case, none cut off."""
        return WORD.findall(prompt.lower())

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embed prompts.

        Returns:
            prompt_embeds, `B max_length prompt_dim` float32, and for each prompt its number of tokens before
            padding or cutting (more than `max_length` says that words were lost).
        """
        embeds = torch.zeros(len(prompts), self.max_length, self.prompt_dim)
        lengths = []
        for row, prompt in zip(embeds, prompts, strict=True):
            words = self.tokenize(prompt)
            lengths.append(len(words))
            for position, word in enumerate(words[: self.max_length]):
                row[position] = torch.cat([self._vector(word), self._positions[position]])
        return embeds, lengths

    def _vector(self, word: str) -> Tensor:
        if word not in self._vectors:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little", signed=True)
            width = self.prompt_dim - self._positions.shape[1]
            self._vectors[word] = torch.randn(width, generator=torch.Generator().manual_seed(seed))
        return self._vectors[word]


def _sinusoids(length: int, channels: int) -> Tensor:
    """Positions as sines and cosines with wavelengths from 4 to 4 * length tokens, `length channels`."""
    wavelengths = torch.logspace(math.log10(4), math.log10(4 * length), channels // 2)
    angles = torch.arange(length)[:, None] * (2 * math.pi / wavelengths)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
