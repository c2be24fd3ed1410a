"""One vector for the whole prompt, told to blocks with the timestep (Stable Diffusion 3, Esser et al. 2024, arXiv
2403.03206, figure 2; there and in FLUX.1 it is CLIP's, here the mean of the prompt's tokens, as in micro_diffusion,
Sehwag et al. 2024, arXiv 2407.15811).
"""

import torch
from torch import Tensor, nn


class PooledPrompt(nn.Sequential):
    """The mean of a prompt's tokens through a two-layer MLP, as wide as the timestep's embedding.

    It starts from nothing, however the model starts, so that a model predicts at first what it would without it.

    Args:
        text_dim: width of the prompt embeddings.
        dim: width of the result.
    """

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__(nn.Linear(text_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self._end_in_nothing()

    @torch.no_grad()
    def init_weights(self) -> None:
        """The first matrix as the model's others."""
        first = self[0]
        assert isinstance(first, nn.Linear)
        nn.init.xavier_uniform_(first.weight)
        nn.init.zeros_(first.bias)
        self._end_in_nothing()

    def forward(self, prompt_embeds: Tensor) -> Tensor:
        """Of prompts, `B L text_dim`, in which padding is 0 throughout, `B dim`."""
        return super().forward(mean_of_words(prompt_embeds))

    def _end_in_nothing(self) -> None:
        for parameter in self[-1].parameters():
            nn.init.zeros_(parameter)


def mean_of_words(prompt_embeds: Tensor) -> Tensor:
    """Of prompts, `B L D`, the mean of their tokens that are no padding, `B D`; 0 where there is none."""
    words = (prompt_embeds != 0).any(dim=-1).sum(dim=1, keepdim=True)  # B 1
    return prompt_embeds.sum(dim=1) / words.clamp(min=1).to(prompt_embeds.dtype)
