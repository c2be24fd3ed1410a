"""What stands in for a text encoder where a cache is to hold no embeddings: how long prompts are is kept of them."""

import torch
from torch import Tensor

from aaa.encoders.embedding import embed
from aaa.encoders.protocols import TextEncoder
from aaa.encoders.words import WordEmbedding


class PromptLengths:
    """Embeddings without width, and each prompt's number of tokens, which says what padding all prompts share.

    Args:
        text_encoder: counts the tokens.
    """

    prompt_dim = 0

    def __init__(self, text_encoder: TextEncoder) -> None:
        self.text_encoder, self.max_length = text_encoder, text_encoder.max_length

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embeddings, `B max_length 0`, and each prompt's number of tokens before padding or cutting."""
        # No text encoder need say how it counts them but by encoding.
        prompt_embeds, lengths = embed(self.text_encoder, prompts)
        return prompt_embeds[..., :0], lengths


class WordCounts(WordEmbedding):
    """The same of words, of which no vector is drawn.

    Args:
        words: counts them.
    """

    def __init__(self, words: WordEmbedding) -> None:
        self.prompt_dim, self.max_length = 0, words.max_length

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embeddings, `B max_length 0`, and each prompt's number of words before padding or cutting."""
        return torch.empty(len(prompts), self.max_length, 0), [len(self.tokenize(prompt)) for prompt in prompts]


def lengths_alone(text_encoder: TextEncoder) -> TextEncoder:
    """What gives a cache the lengths that this text encoder would, and nothing else."""
    return WordCounts(text_encoder) if type(text_encoder) is WordEmbedding else PromptLengths(text_encoder)
