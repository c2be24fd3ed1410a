"""How wide and high a picture is, upright, without decoding it where its file says so."""

import io
from pathlib import Path

from PIL import Image, ImageOps
from PIL.ExifTags import Base

from aaa.data.endings import picture_formats

SIDEWAYS = (5, 6, 7, 8)  # EXIF's orientations of pictures that lie on their side
HEADERS = ("JPEG", "MPO", "PNG", "WEBP")  # formats of which Pillow knows size and orientation before it decodes
ORIENTED = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")  # what in a PNG may say how it is turned


def picture_size(picture: Path | bytes) -> tuple[int, int] | None:
    """Width and height in pixels as a person sees the picture; None if it cannot be read.

    Args:
        picture: the file, or what is in it.
    """
    try:
        if isinstance(picture, Path) and not picture.is_file():  # a pipe or a device would be read for ever
            return None
        with Image.open(
            io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=picture_formats()
        ) as opened:
            if opened.format not in HEADERS:
                return ImageOps.exif_transpose(opened).size
            if opened.format == "PNG" and not _says_how_it_is_turned(picture):
                return opened.size  # asked for EXIF, Pillow would decode all of it: that may stand at the end
            width, height = opened.size
            return (height, width) if _orientation(opened) in SIDEWAYS else (width, height)
    except Exception:  # decoders of damaged files raise whatever they stumble over
        return None


def _says_how_it_is_turned(picture: Path | bytes) -> bool:
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    return any(mark in content for mark in ORIENTED)


def _orientation(picture: Image.Image) -> int | None:
    try:
        return picture.getexif().get(Base.Orientation)
    except Exception:  # of EXIF that is damaged; the pixels are not
        return None
