"""Colours as a screen shows them: a picture with a colour profile is brought to sRGB.

What counts is what browsers look at: an ICC profile in the file, whatever its format; the primaries that a PNG (cICP)
or an AVIF without a profile (nclx) signals, HDR being refused; in a PNG with none of them its gAMA chunk, with the
primaries of cHRM, unless an sRGB chunk stands beside. EXIF's colour space is not looked at. Lab says itself which
colours it means. CMYK without a profile is converted by Pillow's plain formula.
"""

import io
import logging
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageCms

from aaa.errors import UserError

logger = logging.getLogger(__name__)

UNUSABLE = "a colour profile that cannot be used, and are taken as sRGB"
FOREIGN = "a colour profile that is not for their kind of pixels, and are taken as sRGB"
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # spaces of profiles, and the modes of their pictures
SRGB = ImageCms.createProfile("sRGB")
SRGB_GAMMA, SRGB_PRIMARIES = 1 / 2.2, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# Primaries of wide spaces and transfers of HDR, by their numbers in ITU-T H.273.
WIDE = {
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
HDR = {16: "PQ", 18: "HLG"}
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # parameters of ICC's third kind of curve
SIGNALLED_WITHIN = 4096  # bytes from the start
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50 = np.array([0.9642, 1.0, 0.8249])


def to_srgb(picture: Image.Image) -> tuple[Image.Image, str | None]:
    """A picture of 8 bits a channel as RGB in sRGB, its alpha left out, and what is wrong with its profile if it is.

    Where the profile cannot be used the numbers are taken as sRGB.
    """
    plain = _converted(picture, "RGB")
    try:
        profile = _profile_of(picture.info)
        if profile is None or picture.mode == "LAB":
            return plain, None
        space, transform = _transform(profile)
        if (space == "CMYK") != (picture.mode == "CMYK") or (space == "GRAY" and not _is_grey(plain)):
            return plain, FOREIGN
        if transform is None:
            return plain, None
        return transform.apply(picture if space == "CMYK" else _converted(plain, MODES[space])), None
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError, TypeError, ArithmeticError, struct.error) as error:
        logger.debug("A colour profile cannot be used: %s", error)
        return plain, UNUSABLE


def signalled_profile(content: bytes, kind: str | None) -> bytes | None:
    """The profile of the wide space that a PNG or an AVIF signals by numbers, None if it signals none.

    Raises:
        UserError: if it is HDR, whose white is not that of other pictures.
    """
    if kind == "PNG":
        at = content.find(b"cICP", 0, max(content.find(b"IDAT"), 0))
        numbers = content[at + 4 : at + 6]
    else:
        at = content.find(b"colrnclx", 0, SIGNALLED_WITHIN)
        numbers = content[at + 9 : at + 12 : 2]
    if at < 0 or kind not in ("PNG", "AVIF") or len(numbers) < 2:
        return None
    primaries, transfer = numbers
    if transfer in HDR:
        raise UserError(f"is HDR ({HDR[transfer]}), a kind whose white is not known. Save it with the usual range")
    return matrix_profile(None, WIDE[primaries]) if primaries in WIDE else None


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = picture.split()
    return not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    return picture if picture.mode == mode else picture.convert(mode)


def _profile_of(info: Mapping[Any, Any]) -> bytes | None:
    if profile := info.get("icc_profile"):
        return bytes(profile)
    gamma = info.get("gamma")
    if gamma is None or "srgb" in info or not 0.1 < gamma < 10:
        return None
    primaries = tuple(info.get("chromaticity") or SRGB_PRIMARIES)
    if abs(gamma / SRGB_GAMMA - 1) < 0.02 and np.allclose(primaries, SRGB_PRIMARIES, atol=0.002):
        return None  # what gAMA says of sRGB
    return matrix_profile(gamma, primaries)


@lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The colour space of a profile, and what brings its colours to sRGB: None where that would change nothing."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    transform = ImageCms.buildTransform(source, SRGB, MODES[space], "RGB")
    if space == "CMYK":
        return space, transform
    levels = np.arange(256, dtype=np.uint8)
    if space == "RGB":
        few = levels[:: 255 // 15]
        probe = Image.fromarray(np.stack(np.meshgrid(few, few, few), axis=-1).reshape(1, -1, 3))
    else:
        probe = Image.fromarray(levels[None])
    change = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    return space, transform if np.abs(change).max() > 1 else None


def matrix_profile(gamma: float | None, primaries: Sequence[float]) -> bytes:
    """An ICC profile of an RGB space.

    Args:
        gamma: as PNG counts it: a stored number is the light to this power; None for sRGB's curve.
        primaries: x and y of white, red, green and blue.
    """

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    points = [xyz(*primaries[start : start + 2]) for start in range(0, 8, 2)]
    white, corners = points[0], np.stack(points[1:], axis=1)
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD
    columns = (adapt @ corners @ np.diag(np.linalg.solve(corners, white))).T

    def fixed(values: np.ndarray) -> bytes:
        return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)

    if gamma is None:
        curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(np.array(SRGB_CURVE))
    else:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 / gamma)) + bytes(2)
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(D50)}
    for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags |= {name + b"XYZ": b"XYZ " + bytes(4) + fixed(column), name + b"TRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(D50) + bytes(48)
    return header + table + body
