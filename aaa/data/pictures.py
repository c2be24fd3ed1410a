"""Reading picture files and fitting them to the training resolution."""

import io
import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from aaa.data.color_profiles import signalled_profile, to_srgb
from aaa.data.cut_short import is_cut_short
from aaa.data.endings import picture_formats
from aaa.data.pixel_depth import NEARLY_BLACK, is_deep, is_faint, of_sixteen_bits, to_eight_bits
from aaa.errors import UserError, reason

logger = logging.getLogger(__name__)

MAX_PIXELS = 89_478_485  # Pillow's own bound, above which a small file may be a decompression bomb
MAX_BYTES = 2**30  # of a file; uncompressed 16 bits of RGB take half of that at most
NOTICES = "aaa notices"  # a key of Pillow's `info`
DAMAGED_EXIF = "EXIF that cannot be read, so whether they are upright is not known"
SEVERAL_FRAMES = "several frames or pages, of which the first is used"
MUCH_ENLARGED = "less than half the width or height that they are trained at, so that they are enlarged and blurred"
LAYERED = frozenset({"MPO", "PSD"})  # what else they hold is of the same picture
PNG_SCALES = {"L;2": 85, "L;4": 17}  # to 8 bits


def read_picture(path: Path, background_color: str) -> Image.Image:
    """Read a picture as RGB, upright, transparent parts over `background_color`.

    Raises:
        UserError: if there is no such file, or no whole picture of a reasonable size in it.
    """
    try:
        if not path.is_file():  # a pipe or a device would be read for ever
            raise UserError("is not a file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"is {path.stat().st_size} bytes, far too large for a picture")
        return decode_picture(path.read_bytes(), background_color)
    except OSError as error:
        raise UserError(f"cannot be read ({reason(error)})") from None


def decode_picture(content: bytes, background_color: str) -> Image.Image:
    """The same of the content of a picture file.

    Of several frames or pages it is the first. What its owner should know of it is in `notices_of` the picture.
    """
    if not content:
        raise UserError("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=picture_formats()) as picture:
            if is_cut_short(content, picture.format):
                raise UserError("is cut short: it ends in zeros, as an interrupted download or copy leaves it")
            if picture.width * picture.height > MAX_PIXELS:
                raise UserError(f"{picture.width} x {picture.height} pixels: a decompression bomb, or far too large")
            signalled = signalled_profile(content, picture.format)
            if signalled is not None and (picture.format == "PNG" or "icc_profile" not in picture.info):
                picture.info["icc_profile"] = signalled
            return as_rgb(picture, background_color)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError("is a decompression bomb, or far too large") from None
    except UnidentifiedImageError:
        raise UserError("is not a picture that Pillow can read") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise UserError(f"cannot be read ({reason(error)})") from None


def require_color(name: str) -> str:
    """The name of a colour, if it is one.

    Raises:
        UserError: if it is not.
    """
    try:
        ImageColor.getrgb(name)
    except ValueError:
        raise UserError(f"data.background_color={name}: not a colour; use a name such as white or '#ffffff'.") from None
    return name


def as_rgb(picture: Image.Image, background_color: str) -> Image.Image:
    """The picture as a person sees it: upright, in sRGB, transparent parts over `background_color`.

    Raises:
        UserError: if it cannot be told what its numbers mean.
    """
    notices = []
    if getattr(picture, "is_animated", False) and picture.format not in LAYERED:
        notices.append(SEVERAL_FRAMES)
    scale_transparent_color(picture)
    sixteen_bits = of_sixteen_bits(picture)
    picture.load()
    if sixteen_bits and is_faint(picture):
        notices.append(NEARLY_BLACK)
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception as error:  # of EXIF that is damaged; the pixels are not
        logger.debug("EXIF cannot be read: %s", error)
        notices.append(DAMAGED_EXIF)
    info = {key: value for key, value in picture.info.items() if key != "transparency"}
    alpha = None
    if is_deep(picture):
        picture, notice = to_eight_bits(picture)
        notices += [notice] if notice else []
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
    picture.info = info
    picture, notice = to_srgb(picture)
    notices += [notice] if notice else []
    if alpha is not None:
        picture.putalpha(alpha)
        backdrop = Image.new("RGBA", picture.size, (*ImageColor.getrgb(background_color)[:3], 255))
        picture = Image.alpha_composite(backdrop, picture).convert("RGB")
    picture.info = {NOTICES: notices} if notices else {}  # the profile is no longer that of these pixels
    return picture


def scale_transparent_color(picture: Image.Image) -> None:
    """PNG gives its transparent colour in the depth of the file, Pillow its pixels in 8 bits. Before it is loaded."""
    tiles = getattr(picture, "tile", None)
    if picture.format != "PNG" or not tiles:
        return
    raw_mode, transparent = tiles[0].args, picture.info.get("transparency")
    if raw_mode in PNG_SCALES and isinstance(transparent, int):
        picture.info["transparency"] = transparent * PNG_SCALES[raw_mode]
    if raw_mode == "RGB;16B" and isinstance(transparent, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in transparent)


def notices_of(picture: Image.Image) -> list[str]:
    """What the owner of a picture should know of how it was read, as words that go on after `some pictures have`."""
    return list(picture.info.get(NOTICES, ()))


def crop_and_resize(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Resize bilinearly until the picture covers `height` x `width`, then cut out its centre.

    The same pixels as DiffSynth's `ImageCropAndResize`.

    Raises:
        UserError: as `cover` does.
    """
    return cut_centre(cover(picture, height, width), height, width)


def cover(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Resize bilinearly until the picture covers `height` x `width`.

    Raises:
        UserError: if the picture is so elongated that covering this size takes more than `MAX_PIXELS`.
    """
    scale = max(width / picture.width, height / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"is too elongated: {picture.width} x {picture.height} pixels")
    return picture.resize(size, Image.Resampling.BILINEAR) if size != picture.size else picture


def is_much_enlarged(picture: Image.Image, covering: Image.Image) -> bool:
    """Whether what `cover` made of a picture is more than twice as wide or high."""
    return covering.width > 2 * picture.width or covering.height > 2 * picture.height


def cut_centre(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The centre of the picture, `height` x `width`."""
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture as `3 H W` float32 in -1..1."""
    return to_images(to_pixels(picture))


def to_pixels(picture: Image.Image) -> Tensor:
    """An RGB picture as `3 H W` uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def to_images(pixels: Tensor) -> Tensor:
    """Pixels, `... 3 H W` uint8, as float32 in -1..1."""
    return pixels.float().div_(127.5).sub_(1)


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Images, `B 3 H W` in -1..1 (values outside are clipped), as RGB pictures."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in pixels]
