"""What a file of DiT weights says of the model it belongs to, and its tensors under the names that we use.

Checkpoints of DiffSynth's tutorial carry no config: depth and widths are read off the tensors' shapes. How many heads
share the width leaves no trace in a shape; for the tutorial's own size it is known, and our files say it in their
header. Of the architecture's switches shapes tell all but the function of an MLP, what is not attended, and where an
internal head is.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from aaa.errors import UserError
from aaa.models.design import Design
from aaa.saved.tensor_shapes import design_of, mlp_ratio_of, position_grid_of, whole, widths_of

FUSION = "fusion.mask_token"  # a tensor of models with routing=sprint
ROUTING = "routing"  # which blocks it is, in their header
PREFIX = "pipe.dit."  # of a tutorial checkpoint that was saved without `remove_prefix_in_ckpt`
TUTORIAL_WIDTHS = {"dim": 1024, "depth": 10, "in_channels": 128, "text_dim": 1024}
TUTORIAL_HEADS = 32


@dataclass(frozen=True)
class DiTNumbers(Design):
    """The numbers and switches of a DiT, as `build_dit` takes them."""

    dim: int
    depth: int
    heads: int
    in_channels: int
    text_dim: int
    mlp_ratio: float
    position_grid: int


def read_dit_numbers(path: Path, heads: int | None = None) -> DiTNumbers:
    """The numbers of the model that a safetensors file holds the weights of.

    Args:
        path: the file.
        heads: its attention heads, if the caller knows better than the file's header.

    Raises:
        UserError: if the file is damaged or holds no DiT, or nothing says how many heads it has.
    """
    shapes, metadata = _read_header(path)
    said = _said_in_header(metadata)
    try:
        widths = widths_of(shapes)
        mlp_ratio = mlp_ratio_of(shapes, said)
        position_grid = position_grid_of(shapes, said)
        design = design_of(shapes, said)
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        raise UserError(
            f"{path}: not the weights of a DiT, ours or the tutorial's (it has {', '.join(list(shapes)[:3])}, ...)."
        ) from None
    if "internal_head.weight" in shapes and design.internal_head is None:
        raise UserError(f"{path}: it has an internal head, and its header does not say after which block.")
    dim = widths["dim"]
    if heads is None:
        heads = whole(said, "heads", 2**16)
    if heads is None and widths == TUTORIAL_WIDTHS:
        heads = TUTORIAL_HEADS
    if heads is None:
        raise UserError(
            f"{path}: nothing in the file says how many attention heads its width of {dim} is shared by. "
            "Say it with heads=N."
        )
    numbers: dict[str, Any] = widths | asdict(design)
    return DiTNumbers(**numbers, heads=heads, mlp_ratio=mlp_ratio, position_grid=position_grid)


def read_routing(path: Path) -> dict[str, Any] | None:
    """The `routing` of the model in a file where it is part of the model (routing=sprint), else None.

    Args:
        path: the file.

    Raises:
        UserError: if the file is damaged, or nothing says which blocks tokens skipped.
    """
    shapes, metadata = _read_header(path)
    if FUSION not in shapes:
        return None
    said = _said_in_header(metadata, ROUTING)
    if not {"kind", "rate", "first_block", "last_block", "path_drop"} <= said.keys():
        raise UserError(f"{path}: a model of routing=sprint whose header does not say which blocks tokens skip.")
    return said


def read_dit_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, without the prefix that the tutorial's trainer may have put before them.

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}).") from None
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def other_numbers(path: Path, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the model in a file that are not these, as `build_dit` takes them.

    Raises:
        UserError: if the file is damaged or holds no DiT.
    """
    if numbers.get("architecture") is not None or numbers.get("block") is not None:
        return {}  # of classes that we know nothing of; torch compares names and shapes
    found = asdict(read_dit_numbers(path, numbers.get("heads")))
    # None, False and 0 all say that there is none of something.
    return {key: value for key, value in found.items() if key in numbers and (value or None) != (numbers[key] or None)}


def other_heads(path: Path, numbers: Mapping[str, Any]) -> dict[str, int]:
    """`heads` of the model in a file where its header says another number than these: no shape tells of them.

    Raises:
        UserError: if the file is damaged.
    """
    heads = whole(_said_in_header(_read_header(path)[1]), "heads", 2**16)
    if numbers.get("architecture") is not None:
        return {}  # whose numbers mean what it makes of them
    return {} if heads is None or heads == numbers.get("heads", heads) else {"heads": heads}


def require_numbers(path: Path, numbers: Mapping[str, Any]) -> None:
    """Refuse a file whose weights are not those of a model with these numbers, before such a model is made.

    Args:
        path: the file.
        numbers: as `build_dit` takes them.

    Raises:
        UserError: naming what differs.
    """
    if other := other_numbers(path, numbers):
        listed = ", ".join(f"model.{key} is {value}, its config says {numbers[key]}" for key, value in other.items())
        raise UserError(f"{path}: its weights are those of another model: {listed}.")


def metadata_of(path: Path) -> dict[str, str]:
    """What the header of a safetensors file says besides its tensors.

    Raises:
        OSError, SafetensorError: if it cannot be read, or is no such file.
    """
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _read_header(path: Path) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Shapes of the tensors under the names that we use, and metadata."""
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            shapes = {name.removeprefix(PREFIX): list(file.get_slice(name).get_shape()) for name in names}
            return shapes, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}).") from None


def _said_in_header(metadata: dict[str, str], key: str = "model") -> dict[str, Any]:
    """What the file's header says of its model; it may say anything."""
    try:
        said = json.loads(metadata[key])
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
