"""From numbers to a model: checked, built, initialised, counted."""

import math
from collections.abc import Callable

import psutil
import torch
from torch import nn

from aaa.errors import UserError
from aaa.models.dit import AAADiT, DiTBlock


def build_dit(
    dim: int,
    depth: int,
    heads: int,
    in_channels: int,
    text_dim: int,
    mlp_ratio: float = 3.0,
    position_grid: int = 16,
    init: str = "scaled",
) -> AAADiT:
    """Build a DiT and initialise its weights from torch's global generator.

    Args:
        dim, depth, heads, in_channels, text_dim, mlp_ratio, position_grid: as in `AAADiT`.
        init: `scaled` or `torch`, see `INITS`.

    Raises:
        UserError: if no model has these numbers.
    """
    for name, value in (("dim", dim), ("depth", depth), ("heads", heads), ("position_grid", position_grid)):
        if value < 1:
            raise UserError(f"model.{name}={value}: must be at least 1.")
    # Attention and MLP of each block, in float32, before there is any gradient.
    needed = 4.0 * depth * (5 * dim**2 + 2 * mlp_ratio * dim**2)
    available = psutil.virtual_memory().total
    if needed > available:
        raise UserError(
            f"model.dim={dim} model.depth={depth}: its weights alone take {needed / 2**30:.0f} GiB; this machine has "
            f"{available / 2**30:.0f}."
        )
    if dim % heads:
        fitting = [n for n in range(1, dim + 1) if dim % n == 0]
        nearest = min(fitting, key=lambda n: abs(n - heads))
        raise UserError(
            f"model.heads={heads} does not divide model.dim={dim}; the nearest number that does: {nearest}."
        )
    if dim % 4:
        raise UserError(f"model.dim={dim}: must be divisible by 4, for sines and cosines of two coordinates.")
    if not mlp_ratio * dim >= 1 or math.isinf(mlp_ratio):
        raise UserError(f"model.mlp_ratio={mlp_ratio}: must be positive.")
    if init not in INITS:
        raise UserError(f"model.init={init}: must be one of {', '.join(INITS)}.")
    model = AAADiT(dim, depth, heads, in_channels, text_dim, mlp_ratio, position_grid)
    INITS[init](model)
    return model


@torch.no_grad()
def scaled_init(model: AAADiT) -> None:
    """Start as a network that does nothing yet: each block a small step, all gates 1, output 0.

    Matrices are Xavier-uniform, those that write to the residual stream divided by sqrt(2 * depth) (GPT-2,
    Radford et al. 2019); gates and output start at zero (adaLN-Zero's idea, Peebles and Xie 2023); positions
    start as two-dimensional sines and cosines, which tell neighbours from strangers before the first step.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for block in _blocks(model):
        nn.init.zeros_(block.to_gate.weight)
        for residual in (block.to_out.weight, block.get_parameter("ff.2.weight")):
            residual /= math.sqrt(2 * len(model.blocks))
    nn.init.zeros_(model.proj_out.weight)
    model.pos_embedder.image_emb.copy_(sincos_positions(*model.pos_embedder.image_emb.shape[1:3]))
    nn.init.normal_(model.pos_embedder.text_emb, std=0.02)


def torch_init(model: AAADiT) -> None:
    """What torch's layers and the tutorial's script start from: uniform matrices, normal positions."""


INITS: dict[str, Callable[[AAADiT], None]] = {"scaled": scaled_init, "torch": torch_init}


def sincos_positions(dim: int, grid: int) -> torch.Tensor:
    """Sines and cosines of row and column, `1 dim grid grid`, as if the grid were 16 x 16 (ViT-MAE's layout)."""
    quarter = dim // 4
    frequencies = 10_000 ** (-torch.arange(quarter) / quarter)
    angles = torch.arange(grid)[:, None] * (16 / grid) * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)  # grid dim/2
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).permute(2, 0, 1)[None]


def count_parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def forward_flops(model: nn.Module, height: int, width: int, text_tokens: int, *, channels: int, text_dim: int) -> int:
    """Floating-point operations of one forward pass for one picture (a multiply and an add are two).

    Args:
        model: on any device.
        height, width, channels: of the latents.
        text_tokens, text_dim: of the prompt embeddings.
    """
    if not isinstance(model, AAADiT):
        return _counted_flops(model, (1, channels, height, width), (1, text_tokens, text_dim))
    image_tokens = height * width
    tokens = image_tokens + text_tokens
    dim, channels = model.proj_out.in_features, model.proj_out.out_features
    matrices = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.ndim == 2}
    per_sample = [name for name in matrices if name.startswith("timestep_embedder.") or ".to_gate." in name]
    per_token = sum(count for name, count in matrices.items() if name.startswith("blocks.") and name not in per_sample)
    attention = len(model.blocks) * 2 * tokens**2 * dim  # scores, and their mix of values
    embed = image_tokens * 2 * dim * channels + text_tokens * matrices["text_embedder.0.weight"]
    return 2 * (tokens * per_token + attention + embed + sum(matrices[name] for name in per_sample))


def _counted_flops(model: nn.Module, latents: tuple[int, ...], prompt_embeds: tuple[int, ...]) -> int:
    """What torch counts in a forward pass of a model that we know nothing of."""
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(model.parameters())
    inputs = [torch.zeros(shape, device=parameter.device, dtype=parameter.dtype) for shape in (latents, prompt_embeds)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs, torch.zeros(1, device=parameter.device, dtype=parameter.dtype))
    return counter.get_total_flops()


def _blocks(model: AAADiT) -> list[DiTBlock]:
    return [block for block in model.blocks if isinstance(block, DiTBlock)]
