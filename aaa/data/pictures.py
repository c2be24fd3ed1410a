"""Reading picture files and fitting them to the training resolution."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from aaa.errors import UserError, reason

MAX_PIXELS = 89_478_485  # Pillow's own bound, above which a small file may be a decompression bomb
MAX_BYTES = 2**30  # of a file; uncompressed 16 bits of RGB take half of that at most


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
    """The same of the content of a picture file."""
    if not content:
        raise UserError("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UserError(f"{picture.width} x {picture.height} pixels: a decompression bomb, or far too large")
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture), background_color)
    except Image.DecompressionBombError:
        raise UserError("is a decompression bomb, or far too large") from None
    except UnidentifiedImageError:
        raise UserError("is not a picture that Pillow can read") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"cannot be read ({reason(error)})") from None


def _to_rgb(picture: Image.Image, background_color: str) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits a pixel, which convert() would clip
        values = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray(np.clip(values / 257, 0, 255).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        backdrop = Image.new("RGBA", picture.size, (*ImageColor.getrgb(background_color)[:3], 255))
        return Image.alpha_composite(backdrop, picture).convert("RGB")
    return picture.convert("RGB")


def crop_and_resize(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Resize bilinearly until the picture covers `height` x `width`, then cut out its centre.

    The same pixels as DiffSynth's `ImageCropAndResize`.

    Raises:
        UserError: if the picture is so elongated that covering this size takes more than `MAX_PIXELS`.
    """
    scale = max(width / picture.width, height / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"is too elongated: {picture.width} x {picture.height} pixels")
    picture = picture.resize(size, Image.Resampling.BILINEAR) if size != picture.size else picture
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture as `3 H W` float32 in -1..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Images, `B 3 H W` in -1..1 (values outside are clipped), as RGB pictures."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in pixels]
