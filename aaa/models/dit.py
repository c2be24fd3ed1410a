"""The diffusion transformer: noised latents, prompt embeddings and a timestep in, a prediction out.

As it is by default the architecture is that of DiffSynth-Studio's tutorial "Training Models from Scratch" with its
numbers turned into arguments, and a timestep of its own for each sample of a batch. State-dict keys and shapes are
the tutorial's, so weights move both ways. What else it can be made of is in design.py, a switch each.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from aaa.models.block import Block, BlockContext, DiTBlock, make_own_block, require_tokens
from aaa.models.costs import linear_flops, linear_layers, other_flops
from aaa.models.cross import CrossBlock
from aaa.models.design import Design
from aaa.models.embeddings import PositionEmbedding, TimestepEmbedding
from aaa.models.forward import ModelOutput, WeakerWay, draws_while_training
from aaa.models.internal_head import InternalHead
from aaa.models.layer_norm import LayerNorm
from aaa.models.modulation import SharedModulation
from aaa.models.pooled_prompt import PooledPrompt
from aaa.models.rope import of_words, rotation, unturned
from aaa.models.routing import Detour, Routing
from aaa.models.sprint import Fusion, Sprint
from aaa.models.text_refiner import TextRefiner
from aaa.models.two_streams import TwoStreamBlock

# What of a block says how it starts, and nothing of what it computes.
STARTS = {"__init__", "init_weights", "layers_to_stream"}


class AAADiT(nn.Module):
    """A text-to-image diffusion transformer; without arguments the tutorial's, of 0.1B parameters.

    Args:
        dim: width of the tokens.
        depth: number of blocks.
        heads: attention heads; must divide `dim`.
        in_channels: channels of the latents.
        text_dim: width of the prompt embeddings.
        mlp_ratio: hidden width of the MLP over `dim`.
        position_grid: height and width of the learned grid of positions, or of the picture that rotations count as one.
        block: makes each block, a `Block`, from dim, heads and mlp_ratio; None: ours.
        routing: which tokens skip which blocks while training; None: none do.
        switches: of the architecture, by the names of `Design`.

    Attributes:
        hidden_depth: number of blocks; see `ShowsHidden`.
        draws_while_training: whether routing or any block draws at random; see `DrawsWhileTraining`.
        internal_head_after: the block after which a second head predicts, or None; see `HasInternalHead`.
        has_weaker_way: whether it routes; see `HasWeakerWay`.
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
        block: Callable[..., nn.Module] | None = None,
        routing: Routing | None = None,
        **switches: Any,
    ) -> None:
        super().__init__()
        design = Design(**switches)
        self.head_dim, self.position_grid = dim // heads, position_grid
        self.turns_words = design.text_positions == "rope"
        self.pos_embedder = PositionEmbedding(dim, position_grid) if design.positions == "learned" else None
        self.timestep_embedder = TimestepEmbedding(dim)
        self.image_embedder = nn.Sequential(*_patch_embedding(in_channels, dim, design), LayerNorm(dim))
        self.text_embedder = nn.Sequential(nn.Linear(text_dim, dim), LayerNorm(dim))
        self.has_own_blocks = block is not None
        make = partial(_make_block, design, depth) if block is None else _make_own(block)
        self.blocks = nn.ModuleList(make(number, dim, heads, mlp_ratio) for number in range(1, depth + 1))
        self.proj_out = nn.Linear(dim, in_channels)
        self.text_refiner = None
        if design.text_refiner:
            self.text_refiner = TextRefiner(design.text_refiner, dim, heads, mlp_ratio, design)
        self.registers = nn.Parameter(0.02 * torch.randn(design.registers, dim)) if design.registers else None
        self.modulation = SharedModulation(dim) if design.modulation == "adaln_shared" else None
        self.mixes_values = design.value_residual
        self.masks_padding = design.mask_padding
        self.has_timestep_token = design.modulation == "none"
        self.internal_head_after = design.internal_head
        self.internal_head = None
        if design.internal_head is not None:
            self.internal_head = InternalHead(dim, in_channels, after_block=design.internal_head)
        self.last_is_ours = depth > 0 and _computes_as_ours(self.blocks[-1])
        self.hidden_depth = depth
        self.routing = routing
        self.fusion = Fusion(dim) if isinstance(routing, Sprint) else None
        self.pooled_prompt = None
        if design.pooled_prompt:
            with torch.random.fork_rng(devices=[]):  # so that all else starts as it does without it
                self.pooled_prompt = PooledPrompt(text_dim, dim)
        self.has_weaker_way = routing is not None
        self.blocks_draw = any(map(draws_while_training, self.blocks))
        self.draws_while_training = self.blocks_draw or routing is not None
        # A trainer that is short of memory sets one that recomputes the block in the backward pass.
        self.run_block: RunBlock = _run_block

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start as a network that does nothing yet: each block a small step, output 0.

        Matrices are Xavier-uniform, biases 0; blocks and positions then do their own.
        """
        apart = {self.internal_head, *_layers_of(self.pooled_prompt)}  # so that all else starts as it does without
        for layer in linear_layers(self):
            if layer in apart:
                continue
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for block in self._blocks():
            block.init_weights(len(self.blocks))
        nn.init.zeros_(self.proj_out.weight)
        for part in (self.pos_embedder, self.text_refiner, self.modulation, self.fusion, self.pooled_prompt):
            if part is not None:
                part.init_weights()

    def forward(
        self,
        latents: Tensor,
        prompt_embeds: Tensor,
        timestep: Tensor,
        *,
        generator: torch.Generator | None = None,
        hidden_after: Collection[int] = (),
        with_internal: bool = False,
        weaker: WeakerWay | None = None,
    ) -> Tensor | ModelOutput:
        """Predict what the objective asks for: the velocity `noise - latents`, or the clean latents.

        Args:
            latents: noised latents, `B C H W`.
            prompt_embeds: `B L text_dim`; padding is attended like any other token unless the design masks it.
            timestep: `B` (or `1`, for all samples alike), in 0..1000 where 1000 is pure noise.
            generator: its seed is that of all that is drawn; it is not advanced. Without it nothing is, nor routed.
            hidden_after: numbers of blocks, from 1, after which the latents' tokens are wanted too.
            with_internal: whether what the internal head predicts is wanted too.
            weaker: a way to go that leaves blocks out, where the model routes.

        Returns:
            The prediction, `B C H W`; where more is wanted a `ModelOutput` with it.

        Raises:
            ValueError: if there is no block of such a number, no internal head or no weaker way.
        """
        if weaker is not None and self.routing is None:
            raise ValueError("a weaker way is wanted, and nothing is routed")
        head = self.internal_head if with_internal else None
        if with_internal and head is None:
            raise ValueError("the prediction of an internal head is wanted, and there is none")
        if strange := [number for number in hidden_after if not 1 <= number <= len(self.blocks)]:
            raise ValueError(f"hidden states after block {strange[0]} are wanted, of {len(self.blocks)} blocks")
        height, width = latents.shape[-2:]
        timestep_emb = self.timestep_embedder(timestep, latents.dtype)
        if self.pooled_prompt is not None:
            timestep_emb = timestep_emb + self.pooled_prompt(prompt_embeds)  # B D
        image = self.image_embedder(rearrange(latents, "b c h w -> b (h w) c"))
        words = (prompt_embeds != 0).any(dim=-1) if self.masks_padding else None  # B L
        turns = self._turns_of_words(height, width, prompt_embeds)
        text = self._text(prompt_embeds, timestep_emb, words, turns)
        x = torch.cat([image, *self._others(timestep_emb, len(image), latents.dtype), text], dim=1)  # B N D
        context = self._context(x, timestep_emb, latents, text.shape[1], turns)
        context = context._replace(attended=_attended(words, x.shape[1]))
        shown = hidden_after if head is None else {*hidden_after, head.after_block}
        x, hidden, computed = self._through_blocks(x, context, generator, shown, weaker)
        prediction = _on_grid(self.proj_out(x[:, : height * width]), height)
        internal = None if head is None else _on_grid(head(hidden[head.after_block]), height)
        return ModelOutput(prediction, hidden, internal, computed) if hidden else prediction

    def _through_blocks(
        self,
        x: Tensor,
        context: BlockContext,
        generator: torch.Generator | None,
        hidden_after: Collection[int],
        weaker: WeakerWay | None,
    ) -> tuple[Tensor, dict[int, Tensor], dict[int, Tensor]]:
        """Tokens `B N D` after all blocks, those of the latents after the blocks that are asked for, and which of these
        the blocks computed, `B (H W)` bool, where it is not all of them."""
        latents = context.height * context.width
        if generator is not None and self.blocks_draw:
            context = context._replace(seed=generator.initial_seed())
        routing = self.routing
        detour: Detour | None = None
        hidden, computed = {}, {}
        for number, block in enumerate(self.blocks, start=1):
            if routing is not None and number == routing.first:
                detour = routing.leave(x, context, latents, generator, weaker)
                x, context = detour.staying()
            if detour is None or not detour.skips_blocks:
                wanted = latents if self._gives_latents_alone(number) else None
                x, context = self._through_block(block, x, context._replace(number=number, wanted=wanted))
            if number in hidden_after:
                hidden[number] = (x if detour is None else detour.back(x))[:, :latents]
                if detour is not None and (stayed := detour.computed(latents)) is not None:
                    computed[number] = stayed
            if routing is not None and detour is not None and number == routing.last:
                x = detour.back(x) if self.fusion is None else self.fusion(detour, x, latents)
                context, detour = detour.context, None
        return x, hidden, computed

    def _through_block(self, block: nn.Module, x: Tensor, context: BlockContext) -> tuple[Tensor, BlockContext]:
        """Tokens after a block, and what the next is told."""
        if self.mixes_values and isinstance(block, DiTBlock | TwoStreamBlock) and context.number == 1:
            x, values = self.run_block(block.with_values, x, context)
            return x, context._replace(first_values=values)
        given = self.run_block(block, x, context)
        if self.has_own_blocks:
            require_tokens(given, x, context.wanted, block)
        return given, context

    @property
    def knows_its_flops(self) -> bool:
        """Whether `forward_flops` is what it takes; else torch counts, which knows of no tokens that are routed."""
        return self.routing is not None or all(getattr(block, "counts_itself", True) for block in self.blocks)

    def forward_flops(self, height: int, width: int, text_tokens: int) -> int:
        """Floating-point operations of one forward pass in training for one picture (a multiply and an add are two)."""
        once = linear_layers(self.timestep_embedder) + (
            [] if self.modulation is None else linear_layers(self.modulation)
        )
        once += _layers_of(self.pooled_prompt)
        each_latent = [*linear_layers(self.image_embedder), self.proj_out]
        if self.internal_head is not None:  # which training asks too
            each_latent.append(self.internal_head)
        each_latent += _layers_of(self.fusion)
        embed = linear_flops(each_latent, height * width) + linear_flops(linear_layers(self.text_embedder), text_tokens)
        if self.text_refiner is not None:
            embed += self.text_refiner.flops(text_tokens)
        latents, others = height * width, self._count_others() + text_tokens
        blocks = 0
        for number, block in enumerate(self._blocks(), start=1):
            routed = latents + others if self.routing is None else self.routing.tokens(number, latents, others)
            wanted = latents if self._gives_latents_alone(number) else None
            if isinstance(block, CrossBlock):
                blocks += block.flops(routed, wanted, text_tokens)
            elif isinstance(block, DiTBlock) and wanted is not None:
                blocks += block.flops(routed, wanted)
            else:
                blocks += block.flops(routed)
            if isinstance(block, DiTBlock) and not block.counts_itself:
                blocks += other_flops(block, routed)
        return linear_flops(once, 1) + embed + blocks

    def gathered_parts(self) -> list[nn.Module]:
        """What is whole only while it is run where the weights are divided over processes: every block."""
        return [*self.blocks, *([] if self.text_refiner is None else self.text_refiner.blocks)]

    def _gives_latents_alone(self, number: int) -> bool:
        """Whether a block makes nothing of other tokens: the last, after which nothing reads them, if it is ours."""
        is_routed = self.routing is not None and number <= self.routing.last
        return number == len(self.blocks) and not is_routed and self.last_is_ours

    def _text(self, prompt_embeds: Tensor, timestep_emb: Tensor, words: Tensor | None, turns: Tensor | None) -> Tensor:
        """The prompt's tokens, `B L D`."""
        text = self.text_embedder(prompt_embeds)
        if self.text_refiner is not None:
            context = self.text_refiner.context(text, timestep_emb, words, turns)
            for block in self.text_refiner.blocks:
                text = self.run_block(block, text, context)
        return text

    def _others(self, timestep_emb: Tensor, batch_size: int, dtype: torch.dtype) -> list[Tensor]:
        """Tokens that are neither latents nor prompt, `B ... D` each: registers, and the timestep if it is one."""
        others = []
        if self.registers is not None:
            others.append(self.registers.to(dtype).expand(batch_size, -1, -1))
        if self.has_timestep_token:
            others.append(timestep_emb[:, None].expand(batch_size, -1, -1))
        return others

    def _count_others(self) -> int:
        return (0 if self.registers is None else len(self.registers)) + self.has_timestep_token

    def _context(
        self, x: Tensor, timestep_emb: Tensor, latents: Tensor, text_tokens: int, turns_of_words: Tensor | None
    ) -> BlockContext:
        """What all blocks are told of tokens `B N D`: latents' (`B C H W`), others, so many of the prompt."""
        height, width = latents.shape[-2:]
        modulation = None if self.modulation is None else self.modulation(timestep_emb)
        others = self._count_others()
        if self.pos_embedder is not None:
            positions, turns = self.pos_embedder(height, width, text_tokens, latents.dtype, others), None
        else:
            positions = x.new_zeros(1, x.shape[1], 1)
            turns = rotation(height, width, others + text_tokens, self.head_dim, self.position_grid, x.device)
        if turns_of_words is not None:
            turns = unturned(x.shape[1], self.head_dim, x.device) if turns is None else turns
            turns = torch.cat([turns[:, : x.shape[1] - text_tokens], turns_of_words], dim=1)
        return BlockContext(
            positions, timestep_emb, height, width, text_tokens=text_tokens, rotation=turns, modulation=modulation
        )

    def _turns_of_words(self, height: int, width: int, prompt_embeds: Tensor) -> Tensor | None:
        """How far the prompt's tokens turn beside a picture of this size; None where they do not."""
        if not self.turns_words:
            return None
        return of_words(height, width, prompt_embeds.shape[1], self.head_dim, self.position_grid, prompt_embeds.device)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))


def _computes_as_ours(block: nn.Module) -> bool:
    """Whether a block is ours, or of a kind that starts in another way at most.

    What others make of ours may count on as many tokens out as in, or on the prompt's being among them.
    """
    kind = type(block)
    ours = CrossBlock if issubclass(kind, CrossBlock) else DiTBlock
    computed = {name for name, value in vars(DiTBlock).items() if callable(value)} - STARTS
    return issubclass(kind, ours) and all(getattr(kind, name) is getattr(ours, name) for name in computed)


def _layers_of(part: nn.Module | None) -> list[nn.Linear]:
    return [] if part is None else linear_layers(part)


def _on_grid(tokens: Tensor, height: int) -> Tensor:
    """Tokens row by row, `B (H W) C`, as `B C H W`."""
    return rearrange(tokens, "b (h w) c -> b c h w", h=height)


# A block, or what shows its values too, run in whatever way saves memory.
RunBlock = Callable[[Callable[..., Any], Tensor, BlockContext], Any]


def _run_block(block: Callable[..., Any], x: Tensor, context: BlockContext) -> Any:
    return block(x, context)


def _attended(words: Tensor | None, tokens: int) -> Tensor | None:
    """Of all tokens, `B 1 1 N`, those that are not padding, where words are told from it, `B L`."""
    return None if words is None else F.pad(words, (tokens - words.shape[1], 0), value=True)[:, None, None]


def _patch_embedding(in_channels: int, dim: int, design: Design) -> list[nn.Module]:
    """From the channels of a latent to a token: one matrix, or two with few channels between them."""
    if design.patch_bottleneck is None:
        return [nn.Linear(in_channels, dim)]
    return [nn.Linear(in_channels, design.patch_bottleneck, bias=False), nn.Linear(design.patch_bottleneck, dim)]


def _make_block(design: Design, depth: int, number: int, dim: int, heads: int, mlp_ratio: float) -> nn.Module:
    """Block `number`, from 1, of `depth`. Nothing reads the prompt after the last, which needs no second stream."""
    kinds = {"mmdit": TwoStreamBlock if number < depth else DiTBlock, "cross": CrossBlock}
    return kinds.get(design.joint, DiTBlock)(dim, heads, mlp_ratio, design, first=number == 1)


def _make_own(block: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Of a class of one's own, which is not told the number of its block."""
    return lambda _number, *numbers: make_own_block(block, *numbers)
