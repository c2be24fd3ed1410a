"""What a DiT is made of besides its numbers: the architecture's switches, and which of them go together.

torch is not imported here, so that a config is checked at once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aaa.errors import UserError, require_number, require_one_of

CHOICES = {
    "positions": ("learned", "rope"),
    "text_positions": ("none", "rope"),
    "mlp": ("silu", "relu2", "swiglu"),
    "modulation": ("gate", "adaln", "adaln_shared", "none"),
    "joint": ("single", "mmdit", "cross"),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """The switches of an `AAADiT`, each of which goes with all others; as they are by default it is the tutorial's.

    Attributes:
        positions: `learned` vectors added before every norm, or `rope`: rotations of queries and keys (rope.py).
        text_positions: of the prompt's tokens among each other: `none`, or `rope` (rope.py), whatever `positions` is.
        qk_norm: normalise queries and keys (qk_norm.py).
        mlp: `silu`, `relu2` or `swiglu` (mlp.py).
        modulation: what the timestep does to a block: `gate`, `adaln`, `adaln_shared` or `none` (modulation.py).
        value_residual: mix the first block's values into those of all later ones (value_residual.py).
        text_refiner: blocks over the prompt's tokens alone, before they meet the latents.
        registers: learned tokens beside those of the picture (Darcet et al. 2024, arXiv 2309.16588).
        patch_bottleneck: channels that a latent is squeezed through before it becomes a token (JiT, Li and He 2025,
            arXiv 2511.13720, section 4.3); None: none.
        mask_padding: attend to no token of the prompt whose embedding is 0 throughout.
        joint: whether latents and prompt share the weights of all blocks (`single`) or only of the last (`mmdit`), or
            latents alone go through blocks, to which the prompt gives keys and values (`cross`, cross.py).
        pooled_prompt: tell blocks the mean of the prompt's tokens with the timestep (pooled_prompt.py); None: no.
        internal_head: number of the block, from 1, after which a second head predicts too (internal_head.py); None:
            there is none.
    """

    positions: str = "learned"
    text_positions: str = "none"
    qk_norm: bool = False
    mlp: str = "silu"
    modulation: str = "gate"
    value_residual: bool = False
    text_refiner: int = 0
    registers: int = 0
    patch_bottleneck: int | None = None
    mask_padding: bool = False
    joint: str = "single"
    pooled_prompt: bool | None = None
    internal_head: int | None = None


TUTORIAL = Design()
# What a block of one's own, which is given dim, heads and mlp_ratio, knows nothing of.
OF_BLOCKS = ("positions", "text_positions", "qk_norm", "mlp", "modulation", "value_residual", "mask_padding", "joint")


def mlp_hidden(kind: str, dim: int, mlp_ratio: float) -> int:
    """Width of an MLP: one with three matrices instead of two has two thirds of it, so as many parameters."""
    return max(round(dim * mlp_ratio * 2 / 3), 1) if kind == "swiglu" else round(dim * mlp_ratio)


def require_possible(design: Design, dim: int, depth: int, heads: int) -> None:
    """Refuse widths that cannot be divided, and switches that no model has.

    Args:
        design: the switches.
        dim, depth, heads: of the model, each at least 1.

    Raises:
        UserError: naming the keys.
    """
    if dim % 4:
        near = f"{dim // 4 * 4} or {-(-dim // 4) * 4}" if dim > 4 else "4"
        raise UserError(
            f"model.dim={dim}: must be divisible by 4, for sines and cosines of two coordinates, as {near} is."
        )
    if dim % heads:
        near = str(_nearest_divisor(dim, heads))
        raise UserError(f"model.heads={heads} does not divide model.dim={dim}; the nearest number that does: {near}.")
    for key, options in CHOICES.items():
        require_one_of(f"model.{key}", getattr(design, key), options)
    for key, least in (("text_refiner", 0), ("registers", 0), ("patch_bottleneck", 1)):
        if (value := getattr(design, key)) is not None:
            require_number(f"model.{key}", value, least=least)
    for key in ("positions", "text_positions"):
        if getattr(design, key) == "rope" and dim // heads % 4:
            raise UserError(
                f"model.{key}=rope turns pairs of numbers by row and by column: the width of a head, model.dim={dim} / "
                f"model.heads={heads}, must be divisible by 4."
            )
    if design.internal_head is not None and not 1 <= design.internal_head <= depth:
        raise UserError(
            f"model.internal_head={design.internal_head}: must be at least 1 and at most model.depth={depth}. It "
            "follows from objective.terms.internal.after_block."
        )
    for key, value in (("value_residual", "true"), ("joint", "mmdit")):
        if depth == 1 and str(getattr(design, key)).lower() == value:
            raise UserError(f"model.{key}={value}: model.depth=1 has no block that it would make a difference to.")


def require_unused(design: Design, key: str) -> None:
    """Refuse switches that blocks, or a model, of one's own would not see.

    Args:
        design: the switches.
        key: what names the class: `block` or `architecture`.

    Raises:
        UserError: naming both keys.
    """
    for name, value in other_switches(asdict(design)).items():
        if key != "block" or name in OF_BLOCKS:
            shown = str(value).lower() if isinstance(value, bool) else value
            raise UserError(f"model.{name}={shown}: the class that model.{key} names is not told of it.")


def other_switches(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model's numbers and switches those switches that are not the tutorial's.

    None, False and 0 all say that there is none of something.
    """
    said = {key: (numbers[key], value) for key, value in asdict(TUTORIAL).items() if key in numbers}
    return {key: value for key, (value, tutorial) in said.items() if (value or None) != (tutorial or None)}


def _nearest_divisor(number: int, wanted: int) -> int:
    """Of a number's divisors the nearest to the wanted one, of two the smaller."""
    start = min(wanted, number)
    around = (start + sign * distance for distance in range(number) for sign in (-1, 1))
    return next(one for one in around if 1 <= one <= number and number % one == 0)
