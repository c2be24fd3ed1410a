"""The tutorial's model, written down on its own from the description in the design notes.

One timestep for all samples, module names as in its checkpoints, nothing shared with `aaa.models`.
"""

import math

import torch
from torch import Tensor, nn


class ReferencePositions(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.image_emb = nn.Parameter(torch.randn(1, dim, 16, 16))
        self.text_emb = nn.Parameter(torch.randn(dim))


class ReferenceTimestep(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.timestep_embedder = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, timestep: Tensor) -> Tensor:
        steps = [math.exp(-math.log(10000) * i / 128) for i in range(128)]
        angles = timestep.double()[:, None] * torch.tensor(steps, dtype=torch.float64)
        sinusoids = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
        return self.timestep_embedder(sinusoids.to(next(self.parameters()).dtype))


class ReferenceBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))
        self.ff = nn.Sequential(nn.Linear(dim, 3 * dim), nn.SiLU(), nn.Linear(3 * dim, dim))
        self.to_gate = nn.Linear(dim, 2 * dim)

    @staticmethod
    def norm(x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps)

    def forward(self, x: Tensor, positions: Tensor, condition: Tensor) -> Tensor:
        gates = self.to_gate(condition)
        h = self.norm(x + positions)
        batch, length, _ = h.shape
        split = (batch, length, self.heads, self.dim // self.heads)
        heads = [layer(h).reshape(split) for layer in (self.to_q, self.to_k, self.to_v)]
        weights = torch.einsum("bihd,bjhd->bhij", heads[0], heads[1]) / math.sqrt(self.dim // self.heads)
        mixed = torch.einsum("bhij,bjhd->bihd", weights.softmax(-1), heads[2]).reshape(batch, length, self.dim)
        x = x + self.to_out(mixed) * (1 + gates[:, None, : self.dim])
        return x + self.ff(self.norm(x + positions)) * (1 + gates[:, None, self.dim :])


class ReferenceDiT(nn.Module):
    """`forward(latents B C H W, prompt_embeds B L T, timestep 1) -> B C H W`; the tutorial's size by default."""

    def __init__(
        self, dim: int = 1024, depth: int = 10, heads: int = 32, in_channels: int = 128, text_dim: int = 1024
    ) -> None:
        super().__init__()
        self.pos_embedder = ReferencePositions(dim)
        self.timestep_embedder = ReferenceTimestep(dim)
        self.image_embedder = nn.Sequential(nn.Linear(in_channels, dim), nn.LayerNorm(dim))
        self.text_embedder = nn.Sequential(nn.Linear(text_dim, dim), nn.LayerNorm(dim))
        self.blocks = nn.ModuleList(ReferenceBlock(dim, heads) for _ in range(depth))
        self.proj_out = nn.Linear(dim, in_channels)

    def forward(self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        batch, channels, height, width = latents.shape
        grid = nn.functional.interpolate(self.pos_embedder.image_emb, size=(height, width), mode="bilinear")
        image_positions = grid.flatten(2).permute(0, 2, 1)
        text_positions = self.pos_embedder.text_emb.reshape(1, 1, -1).repeat(1, prompt_embeds.shape[1], 1)
        positions = torch.cat([image_positions, text_positions], dim=1)
        image = self.image_embedder(latents.reshape(batch, channels, height * width).permute(0, 2, 1))
        x = torch.cat([image, self.text_embedder(prompt_embeds)], dim=1)
        condition = self.timestep_embedder(timestep)
        for block in self.blocks:
            x = block(x, positions, condition)
        velocity = self.proj_out(x[:, : height * width])
        return velocity.permute(0, 2, 1).reshape(batch, channels, height, width)
