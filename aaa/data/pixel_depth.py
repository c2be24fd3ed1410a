"""Pictures of more than 8 bits a channel, brought to 8 by what their numbers mean.

16 bits are scaled as the file declares them. Floats and 32-bit integers do not say what white is: the ranges that
people save are recognised by the largest value, and whatever fits none of them is refused rather than guessed.
"""

from typing import Any

import numpy as np
from PIL import Image

from aaa.errors import UserError

SIXTEEN_BITS = frozenset(
    {"ICNS", "ICO", "IM", "JPEG2000", "PNG", "PPM", "TIFF", None}
)  # formats whose 16 bits are brightness
INTEGER_RANGES = ((0, 255, 255.0), (4096, 65535, 65535.0))  # smallest and largest maximum, and what is white
FLOAT_RANGES = ((0, 1.05, 1.0), (16, 260, 255.0), (4096, 66_000, 65535.0))  # resampling overshoots a little
FAINT = 1 / 16  # of white; what stays below has probably fewer bits than the file declares
NEARLY_BLACK = "16 bits a pixel of which less than 12 are used, so that they are nearly black"
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, SIGNED = 0, 2


def is_deep(picture: Image.Image) -> bool:
    """Whether its pixels are single numbers that are not plain bytes."""
    return picture.mode == "F" or picture.mode.startswith("I") or _is_signed(picture, 8)


def of_sixteen_bits(picture: Image.Image) -> bool:
    """Whether a picture that is not loaded yet has 16 bits in each of several channels, of which Pillow keeps 8."""
    tiles: list[Any] = getattr(picture, "tile", [])
    return bool(tiles) and not picture.mode.startswith("I") and ";16" in str(tiles[0].args)


def is_faint(picture: Image.Image) -> bool:
    """Whether of such a picture, loaded, no channel but alpha shows more than the lowest 12 of 16 bits."""
    if picture.mode == "CMYK":
        return False
    colors = [number for number, name in enumerate(picture.getbands()) if name not in ("A", "a", "X")]
    return bool(np.asarray(picture)[..., colors].max() < FAINT * 255)


def to_eight_bits(picture: Image.Image) -> tuple[Image.Image, str | None]:
    """A deep picture as `L`, or as `LA` where one of its values is transparent, and what its owner should know of it.

    Raises:
        UserError: if it cannot be told what its numbers mean.
    """
    values = np.asarray(picture)
    tags: dict[int, Any] = getattr(picture, "tag_v2", {})
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite([lowest, highest]).all():
        raise UserError("holds numbers that are not finite (NaN or infinity)")
    white = _white(picture, tags, lowest, highest)
    notice = NEARLY_BLACK if white > 255 and 0 < highest < FAINT * white else None
    grey = np.clip(values.astype(np.float32) * (255 / white), 0, 255).round().astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    eight_bits = Image.fromarray(grey)
    if isinstance(key := picture.info.get("transparency"), int):
        eight_bits.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return eight_bits, notice


def _is_signed(picture: Image.Image, bits: int) -> bool:
    tags: dict[int, Any] = getattr(picture, "tag_v2", {})
    return tags.get(BITS_PER_SAMPLE) == (bits,) and SIGNED in tags.get(SAMPLE_FORMAT, ())


def _white(picture: Image.Image, tags: dict[int, Any], lowest: float, highest: float) -> float:
    """The value that is white."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        if picture.format not in SIXTEEN_BITS:
            raise UserError(f"is a {picture.format} of 16 bits a pixel, a kind whose white is not known")
        if 0 < highest <= 255:
            raise UserError(
                f"has 16 bits a pixel and no value above {highest:g}, so it would be black. Save it with 8 bits a pixel"
            )
        return 4095.0 if tags.get(BITS_PER_SAMPLE) == (12,) else 65535.0
    if _is_signed(picture, 8):
        raise UserError("has signed 8-bit integers, a kind whose white is not known. Save it with unsigned ones")
    signed_16 = _is_signed(picture, 16)
    if signed_16 and lowest >= 0 and highest > 255:
        return 32767.0
    kind = "floats" if picture.mode == "F" else "signed 16-bit integers" if signed_16 else "32-bit integers"
    slack = 0.05 if picture.mode == "F" else 0.0
    for least, most, white in FLOAT_RANGES if picture.mode == "F" else INTEGER_RANGES:
        if least <= highest <= most and lowest >= -slack * white:
            return white
    ranges = "0..1, 0..255 nor 0..65535" if picture.mode == "F" else "0..255 nor 0..65535"
    raise UserError(
        f"holds {kind} from {lowest:g} to {highest:g}, neither {ranges}: what is white is not known. "
        "Save it with 8 or 16 bits a pixel"
    )
