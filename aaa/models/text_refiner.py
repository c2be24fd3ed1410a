"""Blocks over the prompt's tokens alone, before they meet the latents (the text preamble of MiniT2I; Lumina's context
refiner, Qin et al. 2025, arXiv 2503.21758, section 3.1).

Embeddings that know nothing of each other, as `text_encoder=words` makes them, become a prompt here. They bring their
order along, so no positions are added; with `model.text_positions=rope` queries and keys are turned here too.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from aaa.models.block import BlockContext, DiTBlock
from aaa.models.design import Design


class TextRefiner(nn.Module):
    """Blocks without modulation: a prompt means the same at every noise level.

    Args:
        blocks: how many.
        dim, heads, mlp_ratio: as in `AAADiT`.
        design: of the model; MLP and normalisation of queries and keys are as its own blocks have them.
    """

    def __init__(self, blocks: int, dim: int, heads: int, mlp_ratio: float, design: Design) -> None:
        super().__init__()
        plain = replace(design, positions="rope", modulation="none", value_residual=False)
        self.blocks = nn.ModuleList(DiTBlock(dim, heads, mlp_ratio, plain) for _ in range(blocks))

    def init_weights(self) -> None:
        """Small steps on the prompt's own stream."""
        for block in self.blocks:
            assert isinstance(block, DiTBlock)
            block.init_weights(len(self.blocks))

    def context(self, text: Tensor, timestep_emb: Tensor, words: Tensor | None, turns: Tensor | None) -> BlockContext:
        """What its blocks are told of tokens `B L D`, of which those in `words`, `B L`, are no padding (None: all).

        How far each turns is `turns`, `2 L head_dim/2`, None where none does. Padding attends to itself too, so that a
        prompt without any word has something to attend to.
        """
        if words is not None:
            words = words[:, None, None] | torch.eye(text.shape[1], dtype=torch.bool, device=text.device)  # B 1 L L
        nowhere = text.new_zeros(1, 1, 1)
        return BlockContext(nowhere, timestep_emb, 0, 0, text_tokens=text.shape[1], rotation=turns, attended=words)

    def flops(self, text_tokens: int) -> int:
        """Of a forward pass for one prompt."""
        return sum(block.flops(text_tokens) for block in self.blocks if isinstance(block, DiTBlock))
