"""The tutorial's model, written down on its own from the description in the design notes.

One timestep for all samples, module names as in its checkpoints, nothing shared with `aaa.models`.
"""

import math

import torch
from torch import Tensor, nn


class ReferencePositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_emb = nn.Parameter(torch.randn(1, 1024, 16, 16))
        self.text_emb = nn.Parameter(torch.randn(1024))


class ReferenceTimestep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.timestep_embedder = nn.Sequential(nn.Linear(256, 1024), nn.SiLU(), nn.Linear(1024, 1024))

    def forward(self, timestep: Tensor) -> Tensor:
        steps = [math.exp(-math.log(10000) * i / 128) for i in range(128)]
        angles = timestep.double()[:, None] * torch.tensor(steps, dtype=torch.float64)
        sinusoids = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
        return self.timestep_embedder(sinusoids.to(next(self.parameters()).dtype))


class ReferenceBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(1024, 1024) for _ in range(4))
        self.ff = nn.Sequential(nn.Linear(1024, 3072), nn.SiLU(), nn.Linear(3072, 1024))
        self.to_gate = nn.Linear(1024, 2048)

    @staticmethod
    def norm(x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps)

    def forward(self, x: Tensor, positions: Tensor, condition: Tensor) -> Tensor:
        gates = self.to_gate(condition)
        h = self.norm(x + positions)
        batch, length, _ = h.shape
        heads = [layer(h).reshape(batch, length, 32, 32) for layer in (self.to_q, self.to_k, self.to_v)]
        weights = torch.einsum("bihd,bjhd->bhij", heads[0], heads[1]) / math.sqrt(32)
        mixed = torch.einsum("bhij,bjhd->bihd", weights.softmax(-1), heads[2]).reshape(batch, length, 1024)
        x = x + self.to_out(mixed) * (1 + gates[:, None, :1024])
        return x + self.ff(self.norm(x + positions)) * (1 + gates[:, None, 1024:])


class ReferenceDiT(nn.Module):
    """`forward(latents B 128 H W, prompt_embeds B L 1024, timestep 1) -> B 128 H W`."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embedder = ReferencePositions()
        self.timestep_embedder = ReferenceTimestep()
        self.image_embedder = nn.Sequential(nn.Linear(128, 1024), nn.LayerNorm(1024))
        self.text_embedder = nn.Sequential(nn.Linear(1024, 1024), nn.LayerNorm(1024))
        self.blocks = nn.ModuleList(ReferenceBlock() for _ in range(10))
        self.proj_out = nn.Linear(1024, 128)

    def forward(self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        batch, _, height, width = latents.shape
        grid = nn.functional.interpolate(self.pos_embedder.image_emb, size=(height, width), mode="bilinear")
        image_positions = grid.reshape(1, 1024, height * width).permute(0, 2, 1)
        text_positions = self.pos_embedder.text_emb.reshape(1, 1, 1024).repeat(1, prompt_embeds.shape[1], 1)
        positions = torch.cat([image_positions, text_positions], dim=1)
        image = self.image_embedder(latents.reshape(batch, 128, height * width).permute(0, 2, 1))
        x = torch.cat([image, self.text_embedder(prompt_embeds)], dim=1)
        condition = self.timestep_embedder(timestep)
        for block in self.blocks:
            x = block(x, positions, condition)
        velocity = self.proj_out(x[:, : height * width])
        return velocity.permute(0, 2, 1).reshape(batch, 128, height, width)
