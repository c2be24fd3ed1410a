"""What a token is told besides its content: where it stands, and how noisy the picture is."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

TIMESTEP_CHANNELS = 256


class PositionEmbedding(nn.Module):
    """Learned positions: one vector for each cell of a `grid` x `grid` picture, one for all prompt tokens.

    Latents of another height and width get the grid resized bilinearly (as ViT does when fine-tuned at a new
    resolution, Dosovitskiy et al. 2020).
    """

    def __init__(self, dim: int, grid: int) -> None:
        super().__init__()
        self.image_emb = nn.Parameter(torch.randn(1, dim, grid, grid))
        self.text_emb = nn.Parameter(torch.randn(dim))

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start as two-dimensional sines and cosines, which tell neighbours from strangers before the first step."""
        self.image_emb.copy_(sincos_positions(*self.image_emb.shape[1:3]))
        nn.init.normal_(self.text_emb, std=0.02)

    def forward(self, height: int, width: int, text_tokens: int, dtype: torch.dtype, other_tokens: int = 0) -> Tensor:
        """Return positions for a sequence of `height * width` latents, others that have none, and the prompt.

        Shape `1 N D` with N = height * width + other_tokens + text_tokens, dtype `dtype`.
        """
        image = self.image_emb.to(dtype)
        if image.shape[-2:] != (height, width):
            image = F.interpolate(image, size=(height, width), mode="bilinear")
        text = self.text_emb.to(dtype).expand(1, text_tokens, -1)
        others = image.new_zeros(1, other_tokens, text.shape[-1])
        return torch.cat([rearrange(image, "1 d h w -> 1 (h w) d"), others, text], dim=1)


class TimestepEmbedding(nn.Module):
    """Sinusoids of the timestep (cosines first, Ho et al. 2020) through a two-layer MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.timestep_embedder = nn.Sequential(nn.Linear(TIMESTEP_CHANNELS, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """Embed timesteps, `B`, as `B D` of this dtype."""
        half = TIMESTEP_CHANNELS // 2
        exponent = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
        frequencies = torch.exp(-math.log(10_000) * exponent)
        angles = timestep[:, None].float() * frequencies  # B 128
        sinusoids = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.timestep_embedder(sinusoids.to(dtype))


def sincos_positions(dim: int, grid: int) -> Tensor:
    """Sines and cosines of row and column, `1 dim grid grid`, as if the grid were 16 x 16 (ViT-MAE's layout)."""
    quarter = dim // 4
    frequencies = 10_000 ** (-torch.arange(quarter) / quarter)
    angles = torch.arange(grid)[:, None] * (16 / grid) * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)  # grid dim/2
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return rearrange(torch.cat([rows, columns], dim=-1), "h w d -> 1 d h w")
