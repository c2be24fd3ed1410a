"""The diffusion transformer: noised latents, prompt embeddings and a timestep in, velocity out.

The architecture is that of DiffSynth-Studio's tutorial "Training Models from Scratch" with its numbers
turned into arguments, and a timestep of its own for each sample of a batch. State-dict keys and shapes are
the tutorial's, so weights move both ways.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aaa.models.attention import attend

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

    def forward(self, height: int, width: int, text_tokens: int, dtype: torch.dtype) -> Tensor:
        """Return positions for a sequence of `height * width` latents and `text_tokens` prompt tokens.

        Shape `1 N D` with N = height * width + text_tokens, dtype `dtype`.
        """
        image = self.image_emb.to(dtype)
        if image.shape[-2:] != (height, width):
            image = F.interpolate(image, size=(height, width), mode="bilinear")
        image = image.flatten(2).transpose(1, 2)  # 1 (H W) D
        text = self.text_emb.to(dtype).expand(1, text_tokens, -1)
        return torch.cat([image, text], dim=1)


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


class DiTBlock(nn.Module):
    """Self-attention over latents and prompt tokens together, then an MLP.

    Each branch normalises `hidden + positions` without learned scale and is multiplied by `1 + gate`, where
    the gate comes from the timestep alone.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attn = nn.RMSNorm(dim, elementwise_affine=False)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_mlp = nn.RMSNorm(dim, elementwise_affine=False)
        hidden = round(dim * mlp_ratio)
        self.ff = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim))
        self.to_gate = nn.Linear(dim, dim * 2)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of tokens, `B N D`, as `3 B heads N head_dim`."""
        # One product instead of three: x is read, and under autocast rounded, once. The keys of checkpoints stay.
        projections = (self.to_q, self.to_k, self.to_v)
        weight, bias = (torch.cat([getattr(layer, name) for layer in projections]) for name in ("weight", "bias"))
        return F.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def attention(self, x: Tensor) -> Tensor:
        """Attention over normalised tokens, `B N D`."""
        q, k, v = self.project(x)
        out = attend(q, k, v)  # B heads N head_dim
        return self.to_out(out.transpose(1, 2).flatten(2))  # B N D

    def forward(self, x: Tensor, positions: Tensor, timestep_emb: Tensor) -> Tensor:
        """Tokens `B N D`, positions `1 N D`, timestep_emb `B D`; returns tokens."""
        gate_attn, gate_mlp = self.to_gate(timestep_emb)[:, None].chunk(2, dim=-1)  # B 1 D each
        x = x + self.attention(self.norm_attn(x + positions)) * (1 + gate_attn)
        return x + self.ff(self.norm_mlp(x + positions)) * (1 + gate_mlp)


class AAADiT(nn.Module):
    """A text-to-image diffusion transformer; without arguments the tutorial's, of 0.1B parameters.

    Args:
        dim: width of the tokens.
        depth: number of blocks.
        heads: attention heads; must divide `dim`.
        in_channels: channels of the latents.
        text_dim: width of the prompt embeddings.
        mlp_ratio: hidden width of the MLP over `dim`.
        position_grid: height and width of the learned grid of positions.
    """

    def __init__(
        self,
        dim: int = 1024,
        depth: int = 10,
        heads: int = 32,
        in_channels: int = 128,
        text_dim: int = 1024,
        mlp_ratio: float = 3.0,
        position_grid: int = 16,
    ) -> None:
        super().__init__()
        self.pos_embedder = PositionEmbedding(dim, position_grid)
        self.timestep_embedder = TimestepEmbedding(dim)
        self.image_embedder = nn.Sequential(nn.Linear(in_channels, dim), nn.LayerNorm(dim))
        self.text_embedder = nn.Sequential(nn.Linear(text_dim, dim), nn.LayerNorm(dim))
        self.blocks = nn.ModuleList(DiTBlock(dim, heads, mlp_ratio) for _ in range(depth))
        self.proj_out = nn.Linear(dim, in_channels)
        # A trainer that is short of memory sets one that recomputes the block in the backward pass.
        self.run_block: Callable[..., Tensor] = _run_block

    def forward(self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        """Predict the velocity `noise - latents`.

        Args:
            latents: noised latents, `B C H W`.
            prompt_embeds: `B L text_dim`; padding is attended like any other token.
            timestep: `B` (or `1`, for all samples alike), in 0..1000 where 1000 is pure noise.

        Returns:
            Velocity, `B C H W`.
        """
        height, width = latents.shape[-2:]
        positions = self.pos_embedder(height, width, prompt_embeds.shape[1], latents.dtype)
        timestep_emb = self.timestep_embedder(timestep, latents.dtype)  # B D
        image = self.image_embedder(latents.flatten(2).transpose(1, 2))  # B (H W) D
        text = self.text_embedder(prompt_embeds)  # B L D
        x = torch.cat([image, text], dim=1)  # B N D
        for block in self.blocks:
            x = self.run_block(block, x, positions, timestep_emb)
        velocity = self.proj_out(x[:, : height * width])  # B (H W) C
        return velocity.transpose(1, 2).unflatten(-1, (height, width))


def _run_block(block: nn.Module, *tensors: Tensor) -> Tensor:
    return block(*tensors)
