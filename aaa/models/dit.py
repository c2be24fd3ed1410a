"""The diffusion transformer: noised latents, prompt embeddings and a timestep in, velocity out.

The architecture is that of DiffSynth-Studio's tutorial "Training Models from Scratch" with its numbers
turned into arguments, and a timestep of its own for each sample of a batch. State-dict keys and shapes are
the tutorial's, so weights move both ways.
"""

from collections.abc import Callable, Collection
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from aaa.models.block import Block, BlockContext, DiTBlock
from aaa.models.costs import linear_flops
from aaa.models.embeddings import PositionEmbedding, TimestepEmbedding
from aaa.models.forward import ModelOutput, draws_while_training


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
        block: makes each block, a `Block`, from dim, heads and mlp_ratio.

    Attributes:
        hidden_depth, hidden_dim: number of blocks, width of what they hold; see `ShowsHidden`.
        draws_while_training: whether any block draws at random; see `DrawsWhileTraining`.
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
        block: Callable[..., nn.Module] = DiTBlock,
    ) -> None:
        super().__init__()
        self.pos_embedder = PositionEmbedding(dim, position_grid)
        self.timestep_embedder = TimestepEmbedding(dim)
        self.image_embedder = nn.Sequential(nn.Linear(in_channels, dim), nn.LayerNorm(dim))
        self.text_embedder = nn.Sequential(nn.Linear(text_dim, dim), nn.LayerNorm(dim))
        self.blocks = nn.ModuleList(block(dim, heads, mlp_ratio) for _ in range(depth))
        self.proj_out = nn.Linear(dim, in_channels)
        self.hidden_depth, self.hidden_dim = depth, dim
        self.draws_while_training = any(map(draws_while_training, self.blocks))
        # A trainer that is short of memory sets one that recomputes the block in the backward pass.
        self.run_block: Callable[[nn.Module, Tensor, BlockContext], Tensor] = _run_block

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start as a network that does nothing yet: each block a small step, output 0.

        Matrices are Xavier-uniform, biases 0; blocks and positions then do their own.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self._blocks():
            block.init_weights(len(self.blocks))
        nn.init.zeros_(self.proj_out.weight)
        self.pos_embedder.init_weights()

    def forward(
        self,
        latents: Tensor,
        prompt_embeds: Tensor,
        timestep: Tensor,
        *,
        generator: torch.Generator | None = None,
        hidden_after: Collection[int] = (),
    ) -> Tensor | ModelOutput:
        """Predict the velocity `noise - latents`.

        Args:
            latents: noised latents, `B C H W`.
            prompt_embeds: `B L text_dim`; padding is attended like any other token.
            timestep: `B` (or `1`, for all samples alike), in 0..1000 where 1000 is pure noise.
            generator: its seed is that of all that blocks draw; it is not advanced. Without it they draw nothing.
            hidden_after: numbers of blocks, from 1, after which the latents' tokens are wanted too.

        Returns:
            Velocity, `B C H W`; where hidden states are wanted a `ModelOutput` with it and them.

        Raises:
            ValueError: if there is no block of such a number.
        """
        if strange := [number for number in hidden_after if not 1 <= number <= len(self.blocks)]:
            raise ValueError(f"hidden states after block {strange[0]} are wanted, of {len(self.blocks)} blocks")
        height, width = latents.shape[-2:]
        positions = self.pos_embedder(height, width, prompt_embeds.shape[1], latents.dtype)
        timestep_emb = self.timestep_embedder(timestep, latents.dtype)
        seed = None if generator is None else generator.initial_seed()
        image = self.image_embedder(rearrange(latents, "b c h w -> b (h w) c"))
        x = torch.cat([image, self.text_embedder(prompt_embeds)], dim=1)  # B N D
        hidden = {}
        for number, block in enumerate(self.blocks, start=1):
            x = self.run_block(block, x, BlockContext(positions, timestep_emb, height, width, seed, number))
            if number in hidden_after:
                hidden[number] = x[:, : height * width]
        velocity = self.proj_out(x[:, : height * width])  # B (H W) C
        velocity = rearrange(velocity, "b (h w) c -> b c h w", h=height)
        return ModelOutput(velocity, hidden) if hidden else velocity

    def forward_flops(self, height: int, width: int, text_tokens: int) -> int:
        """Floating-point operations of one forward pass for one picture (a multiply and an add are two)."""
        timestep = [layer for layer in self.timestep_embedder.modules() if isinstance(layer, nn.Linear)]
        image_layers = [layer for layer in (*self.image_embedder, self.proj_out) if isinstance(layer, nn.Linear)]
        text_layers = [layer for layer in self.text_embedder if isinstance(layer, nn.Linear)]
        embed = linear_flops(image_layers, height * width) + linear_flops(text_layers, text_tokens)
        tokens = height * width + text_tokens
        return linear_flops(timestep, 1) + embed + sum(block.flops(tokens) for block in self._blocks())

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))


def _run_block(block: nn.Module, x: Tensor, context: BlockContext) -> Tensor:
    return block(x, context)
