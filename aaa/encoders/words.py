"""Prompt embeddings without a language model: each word is a fixed random vector beside its position."""

import hashlib
import math
import re
import unicodedata

import torch
from torch import Tensor

from aaa.encoders.prompts import normalised
from aaa.errors import UserError

# Scripts whose words have no spaces between them, as blocks of Unicode; the first are those from Thai to Tai Viet.
BRAHMIC = ("\u0e00-\u0eff", "\u1000-\u109f", "\u1780-\u17ff", "\u1950-\u1aaf", "\ua9e0-\ua9ff", "\uaa60-\uaadf")
CHINESE = ("\u3400-\u4dbf", "\u4e00-\u9fff", "\uf900-\ufaff", "\U00020000-\U0003ffff", "\u3005-\u3007", "\u3100-\u312f")
JAPANESE = ("\u3041-\u30fa", "\u30fc-\u30ff", "\u31a0-\u31bf", "\u31f0-\u31ff", "\uff66-\uff9f")
OTHERS = ("\ua000-\ua4cf",)  # Yi
KANA_MARKS = "\u3099-\u309a"
JOINERS = "\u1039\u17d2\u1a60"  # write the next consonant below the one before
INVISIBLE = re.compile("[\u00ad\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")  # hyphens and directions
ZERO_WIDTH_SPACE = "\u200b"


def _without_spaces() -> tuple[str, str]:
    """The letters of those scripts and the marks above and below them, each as the inside of a class of `re`."""
    marks = "".join(
        chr(code)
        for block in (*BRAHMIC, KANA_MARKS)
        for code in range(ord(block[0]), ord(block[-1]) + 1)
        if unicodedata.category(chr(code)).startswith("M")
    )
    return "".join((*BRAHMIC, *CHINESE, *JAPANESE, *OTHERS)), marks


def _attached() -> str:
    """Vowel signs, points and accents of all other scripts, and what joins letters or parts them within a word."""
    apart = "".join((*BRAHMIC, KANA_MARKS, "\ufe00-\ufe0f"))  # the last choose how an emoji looks
    marks = (chr(code) for code in range(0x300, 0x12000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    return "".join(re.sub(f"[{apart}]", "", mark) for mark in marks) + "\u200c\u200d"


LETTERS, MARKS = _without_spaces()
CLUSTER = f"[{LETTERS}](?:[{JOINERS}][{LETTERS}]|[{MARKS}])*"
WORD = re.compile(rf"{CLUSTER}|[^\W{LETTERS}](?:[^\W{LETTERS}]|[{_attached()}])*|[^\w\s]")
SPACELESS = re.compile(f"[{LETTERS}]{{2}}|[{LETTERS}][{MARKS}]")


def without_spaces(prompt: str) -> bool:
    """Whether the prompt has words in a script that puts no spaces between them."""
    return SPACELESS.search(prompt) is not None


class WordEmbedding:
    """Embeds any text word by word: a random unit-variance vector drawn from the word's hash, then its position.

    Hashing instead of a vocabulary (the hashing trick, Weinberger et al. 2009) needs no fitting and no
    download, and has a vector for every word there is. Case is kept out of it: `Red` and `red` are one word. In
    scripts that put no spaces between words, as Chinese, Japanese, Thai, Lao, Khmer and Burmese, every character with
    its marks counts as a word: which of them make a word together, only a language model knows.

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
        """Words and punctuation marks of the prompt, in lower case, none cut off; what nobody sees is none."""
        seen = INVISIBLE.sub("", normalised(prompt)).replace(ZERO_WIDTH_SPACE, " ")
        return WORD.findall(seen.lower())

    def learned_words(self, prompt: str) -> list[str]:
        """Those that it makes tokens of: each means nothing but what training teaches."""
        return self.tokenize(prompt)[: self.max_length]

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embed prompts.

        Returns:
            prompt_embeds, `B max_length prompt_dim` float32, and for each prompt its number of tokens before
            padding or cutting (more than `max_length` says that words were lost).
        """
        tokens = [self.tokenize(prompt) for prompt in prompts]
        kept = [words[: self.max_length] for words in tokens]
        lengths = torch.tensor([len(words) for words in kept])
        is_word = torch.arange(self.max_length) < lengths[:, None]  # B L
        embeds = torch.zeros(len(prompts), self.max_length, self.prompt_dim)
        if is_word.any():
            vectors = torch.stack([self._vector(word) for words in kept for word in words])
            positions = self._positions.expand(len(prompts), -1, -1)[is_word]
            embeds[is_word] = torch.cat([vectors, positions], dim=1)
        return embeds, [len(words) for words in tokens]

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
