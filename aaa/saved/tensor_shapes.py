"""What the shapes of a DiT's tensors say of it, and the little that only the file's header can say."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aaa.models.design import Design, mlp_hidden

Shapes = Mapping[str, Sequence[int]]
BLOCK = re.compile(r"blocks\.(\d+)\.(?:latents\.)?to_q\.weight")
REFINER = re.compile(r"text_refiner\.blocks\.(\d+)\.to_q\.weight")


def widths_of(shapes: Shapes) -> dict[str, int]:
    """dim, depth, in_channels and text_dim.

    Raises:
        KeyError, ValueError, IndexError: if these are not the tensors of a DiT.
    """
    in_channels, dim = shapes["proj_out.weight"]
    depth = _count(int(match[1]) for name in shapes if (match := BLOCK.fullmatch(name)))
    if not depth:
        raise ValueError("there are no blocks")
    return {"dim": dim, "depth": depth, "in_channels": in_channels, "text_dim": shapes["text_embedder.0.weight"][1]}


def design_of(shapes: Shapes, said: Mapping[str, Any]) -> Design:
    """The switches of the architecture.

    Args:
        shapes: of a DiT's tensors.
        said: of the model in the file's header.
    """
    first = _first_block(shapes)
    bottleneck = shapes["image_embedder.0.weight"][0] if len(shapes["image_embedder.1.weight"]) == 2 else None
    swiglu = f"{first}ff.to_gate.weight" in shapes
    return Design(
        positions="learned" if "pos_embedder.image_emb" in shapes else "rope",
        text_positions="rope" if said.get("text_positions") == "rope" else "none",
        qk_norm=f"{first}qk_norm.scale_q" in shapes,
        mlp="swiglu" if swiglu else "relu2" if said.get("mlp") == "relu2" else "silu",
        modulation=_modulation(shapes, first),
        value_residual=any(name.endswith(".value_residual.share") for name in shapes),
        text_refiner=_count(int(match[1]) for name in shapes if (match := REFINER.fullmatch(name))),
        registers=shapes["registers"][0] if "registers" in shapes else 0,
        patch_bottleneck=bottleneck,
        mask_padding=said.get("mask_padding") is True,
        joint=_joint(shapes, first),
        pooled_prompt=True if "pooled_prompt.0.weight" in shapes else None,
        internal_head=whole(said, "internal_head", 2**16) if "internal_head.weight" in shapes else None,
    )


def mlp_ratio_of(shapes: Shapes, said: Mapping[str, Any]) -> float:
    """`mlp_ratio`: the header's where it makes MLPs of that width, as widths are rounded."""
    first, dim = _first_block(shapes), shapes["proj_out.weight"][1]
    kind = "swiglu" if f"{first}ff.to_gate.weight" in shapes else "silu"
    hidden = shapes[f"{first}ff.{'to_gate' if kind == 'swiglu' else '0'}.weight"][0]
    ratio = said.get("mlp_ratio")
    if isinstance(ratio, int | float) and 0 < ratio < 2**16 and mlp_hidden(kind, dim, ratio) == hidden:
        return float(ratio)
    return hidden / dim * (1.5 if kind == "swiglu" else 1.0)


def position_grid_of(shapes: Shapes, said: Mapping[str, Any]) -> int:
    """`position_grid`, which only learned positions have a shape of."""
    if "pos_embedder.image_emb" in shapes:
        return shapes["pos_embedder.image_emb"][-1]
    return whole(said, "position_grid", 2**16) or 16


def whole(said: Mapping[str, Any], key: str, most: int) -> int | None:
    """A whole number from 1 that a header says, or None if it says none."""
    value = said.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most else None


def _first_block(shapes: Shapes) -> str:
    return "blocks.0.latents." if "blocks.0.latents.to_q.weight" in shapes else "blocks.0."


def _joint(shapes: Shapes, first: str) -> str:
    if first.endswith("latents."):
        return "mmdit"
    return "cross" if f"{first}text.to_k.weight" in shapes else "single"


def _modulation(shapes: Shapes, first: str) -> str:
    if f"{first}to_gate.offset" in shapes:
        return "adaln_shared"
    if f"{first}to_gate.weight" not in shapes:
        return "none"
    rows, dim = shapes[f"{first}to_gate.weight"]
    return "adaln" if rows == 6 * dim else "gate"


def _count(numbers: Iterable[int]) -> int:
    """How many blocks there are, if they are numbered 0, 1, 2, ..."""
    found = sorted(numbers)
    if found != list(range(len(found))):
        raise ValueError("blocks are missing")
    return len(found)
