"""The pixels that a picture file is read as, against values: every mode and format, depth, profile and transparency."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageCms

from aaa.data.color_profiles import FOREIGN, UNUSABLE, matrix_profile
from aaa.data.pictures import DAMAGED_EXIF, SEVERAL_FRAMES, decode_picture, notices_of
from aaa.data.pixel_depth import NEARLY_BLACK
from aaa.errors import UserError
from tests.helpers.hostile_files import chunk

Color = tuple[int, int, int]
SIDE = 16
P3_PRIMARIES = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
P3 = matrix_profile(1 / 2.2, P3_PRIMARIES)
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])  # CSS Color 4
LINEAR_SRGB = matrix_profile(1.0, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

Image.init()


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        picture.save(buffer, kind, **options)
    return buffer.getvalue()


def color_of(content: bytes, background: str = "blue") -> Color:
    picture = decode_picture(content, background)
    assert picture.mode == "RGB"
    assert "icc_profile" not in picture.info
    pixel = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(pixel, tuple)
    return pixel  # type: ignore[return-value]


def assert_near(found: Color, expected: Color, tolerance: int = 1) -> None:
    assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) <= tolerance, (found, expected)


def encode_srgb(light: np.ndarray) -> Color:
    light = light.clip(0, 1)
    stored = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    red, green, blue = (int(value) for value in (255 * stored).round())
    return red, green, blue


ORANGE: Color = (204, 102, 51)  # of the web palette, so that it survives mode P
GREY: Color = (128, 128, 128)


def in_mode(mode: str) -> tuple[Image.Image, Color]:
    """A picture of one colour in this mode, and the colour that a person sees."""
    orange = Image.new("RGB", (SIDE, SIDE), ORANGE)
    if mode == "1":
        return Image.new("1", (SIDE, SIDE), 1), (255, 255, 255)
    if mode in ("L", "LA", "La"):
        return Image.new("L", (SIDE, SIDE), 128).convert("LA").convert(mode), GREY
    if mode in ("I", "F"):
        return Image.new(mode, (SIDE, SIDE), 128), GREY
    if mode.startswith("I;16"):
        return Image.new(mode, (SIDE, SIDE), 128 * 257), GREY
    if mode in ("PA", "RGBa"):
        return orange.convert("RGBA").convert(mode), ORANGE
    if mode == "CMYK":
        return Image.new(mode, (SIDE, SIDE), (10, 20, 30, 40)), (207, 198, 190)
    if mode == "LAB":  # L* 60, a* 20, b* 40, which CSS shows as this
        return Image.new(mode, (SIDE, SIDE), (153, 148, 168)), (191, 130, 74)
    return orange.convert(mode), ORANGE


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"]
MODES += ["I;16", "I;16B", "I;16L"]
WRITE_ONLY = {"PALM", "PDF", "EPS", "WMF", "GRIB", "HDF5", "BUFR"}  # EPS is read where Ghostscript is
CLIPPED = {"AVIF", "GIF", "WEBP"}  # 16 bits, when they are written
FOLDED = {"PNG", "PPM", "ICO", "ICNS"}  # 32 bits into 16
UNREADABLE = {("TIFF", "YCbCr"), ("ICNS", "P")}  # by Pillow 12, which writes them
LOSSY = {"AVIF": 4, "JPEG": 4, "MPO": 4, "WEBP": 6, "JPEG2000": 2}


@pytest.mark.parametrize("kind", sorted(set(Image.SAVE) - WRITE_ONLY))
def test_every_mode_that_a_format_takes_is_its_color(kind: str) -> None:
    written = 0
    for mode in MODES:
        picture, expected = in_mode(mode)
        try:
            content = saved(picture, kind)
        except (OSError, ValueError, KeyError, AttributeError, TypeError, SystemError):
            continue
        written += 1
        if (kind, mode) in UNREADABLE or (kind in FOLDED and mode == "I"):
            with pytest.raises(UserError, match=r"cannot be read|no value above 128, so it would be black"):
                decode_picture(content, "blue")
        elif kind == "SPIDER":  # of grey only
            assert color_of(content) != (0, 0, 0)
        elif not (mode.startswith("I;16") and kind in CLIPPED):
            assert_near(color_of(content), expected, LOSSY.get(kind, 1) + (mode in ("YCbCr", "HSV", "LAB")))
    assert written


def tiff(values: np.ndarray, photometric: int = 1, sample_format: int = 1, order: Literal["<", ">"] = "<") -> bytes:
    """A TIFF of one sample a pixel, uncompressed."""
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    bits = 8 * values.dtype.itemsize
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    tags[339] = sample_format
    body = struct.pack(order + "H", len(tags))
    for tag, value in sorted(tags.items()):
        body += struct.pack(order + "HHII", tag, 4, 1, value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8 + len(data)) + data + body + bytes(4)


def flat(value: float, dtype: type) -> np.ndarray:
    return np.full((8, 8), value, dtype)


INT, FLOAT = 2, 3
DEPTHS: list[tuple[str, bytes, int | str]] = [
    ("float 0..1", tiff(flat(0.5, np.float32), sample_format=FLOAT), 128),
    ("float 0..1, white", tiff(flat(1.02, np.float32), sample_format=FLOAT), 255),
    ("float 0..255", tiff(flat(128, np.float32), sample_format=FLOAT), 128),
    ("float 0..65535", tiff(flat(32896, np.float32), sample_format=FLOAT), 128),
    ("float, big-endian", tiff(flat(0.5, np.float32), sample_format=FLOAT, order=">"), 128),
    ("float, black", tiff(flat(0, np.float32), sample_format=FLOAT), 0),
    ("float, white is zero", tiff(flat(0.25, np.float32), 0, FLOAT), 191),
    (
        "float, of light",
        tiff(flat(3.7, np.float32), sample_format=FLOAT),
        "floats from 3.7 to 3.7, neither",
    ),
    ("float, large", tiff(flat(1e9, np.float32), sample_format=FLOAT), "holds floats from 1e"),
    ("float -1..1", tiff(np.array([[-1, 1]], np.float32), sample_format=FLOAT), "floats from -1 to 1"),
    ("float, NaN", tiff(np.array([[np.nan, 1]], np.float32), sample_format=FLOAT), "not finite"),
    ("float, inf", tiff(np.array([[np.inf, 1]], np.float32), sample_format=FLOAT), "not finite"),
    ("int32 of 8 bits", tiff(flat(128, np.int32), sample_format=INT), 128),
    ("uint32 of 8 bits", tiff(flat(128, np.uint32)), 128),
    ("int32 of 16 bits", tiff(flat(32896, np.int32), sample_format=INT), 128),
    ("int32, big-endian", tiff(flat(32896, np.int32), sample_format=INT, order=">"), 128),
    ("int32 of 10 bits", tiff(flat(512, np.int32), sample_format=INT), "32-bit integers from 512 to 512, neither"),
    ("int32, large", tiff(flat(2**30, np.int32), sample_format=INT), "what is white is not known"),
    ("uint32, large", tiff(flat(2**31 + 5, np.uint32)), "what is white is not known"),
    ("int32, negative", tiff(np.array([[-5, 100]], np.int32), sample_format=INT), "from -5 to 100"),
    ("int16", tiff(flat(16384, np.int16), sample_format=INT), 128),
    ("int16, big-endian", tiff(flat(16384, np.int16), sample_format=INT, order=">"), 128),
    ("int16 of 8 bits", tiff(flat(128, np.int16), sample_format=INT), 128),
    (
        "int16, negative",
        tiff(np.array([[-1000, 100]], np.int16), sample_format=INT),
        "signed 16-bit integers from -1000 to 100",
    ),
    ("int8, negative", tiff(flat(-1, np.int8), sample_format=INT), "signed 8-bit"),
    ("uint16", tiff(flat(32896, np.uint16)), 128),
    ("uint16, big-endian", tiff(flat(32896, np.uint16), order=">"), 128),
    ("uint16, white is zero", tiff(flat(16448, np.uint16), 0), 191),
    ("uint16 of 8 bits", tiff(flat(128, np.uint16)), "no value above 128, so it would be black"),
    ("uint16, black", tiff(flat(0, np.uint16)), 0),
    ("uint8, white is zero", tiff(flat(64, np.uint8), 0), 191),
    ("PGM of 10 bits", b"P5 8 8 1023\n" + flat(512, np.dtype(">u2")).tobytes(), 128),  # type: ignore[arg-type]
    ("PGM of 16 bits", b"P5 8 8 65535\n" + flat(32896, np.dtype(">u2")).tobytes(), 128),  # type: ignore[arg-type]
    ("PFM", b"Pf\n8 8\n-1.0\n" + flat(0.5, np.float32).tobytes(), 128),
]


@pytest.mark.parametrize(("content", "expected"), [row[1:] for row in DEPTHS], ids=[row[0] for row in DEPTHS])
def test_deep_pictures_are_scaled_by_what_they_hold_or_refused(content: bytes, expected: int | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            decode_picture(content, "white")
    else:
        assert_near(color_of(content), (expected,) * 3)


def test_sixteen_bits_of_which_few_are_used_are_noticed() -> None:
    picture = decode_picture(saved(Image.fromarray(flat(2048, np.uint16)), "PNG"), "white")
    assert notices_of(picture) == [NEARLY_BLACK]
    assert notices_of(decode_picture(saved(Image.fromarray(flat(8192, np.uint16)), "PNG"), "white")) == []


def png(depth: int, kind: int, row: bytes, *more: bytes, width: int = 2) -> bytes:
    """A PNG of one row."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + data + chunk(b"IEND", b"")


def u16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


BLUE: Color = (0, 0, 255)
# Two pixels: the first is transparent, the second is not.
TRANSPARENT: list[tuple[str, Callable[[], bytes], Color]] = [
    ("1 bit", lambda: png(1, 0, b"\x40", chunk(b"tRNS", u16(0))), (255, 255, 255)),
    ("2 bits", lambda: png(2, 0, b"\x60", chunk(b"tRNS", u16(1))), (170, 170, 170)),
    ("4 bits", lambda: png(4, 0, b"\x48", chunk(b"tRNS", u16(4))), (136, 136, 136)),
    ("8 bits", lambda: png(8, 0, b"\x04\x80", chunk(b"tRNS", u16(4))), GREY),
    ("16 bits", lambda: png(16, 0, u16(4, 32896), chunk(b"tRNS", u16(4))), GREY),
    ("16 bits, close by", lambda: png(16, 0, u16(32895, 32896), chunk(b"tRNS", u16(32895))), GREY),
    ("RGB", lambda: png(8, 2, bytes([1, 2, 3, *ORANGE]), chunk(b"tRNS", u16(1, 2, 3))), ORANGE),
    (
        "RGB of 16 bits",
        lambda: png(16, 2, u16(1000, 2000, 3000, *(257 * v for v in ORANGE)), chunk(b"tRNS", u16(1000, 2000, 3000))),
        ORANGE,
    ),
    (
        "palette, one entry",
        lambda: png(8, 3, b"\0\1", chunk(b"PLTE", bytes([9, 9, 9, *ORANGE])), chunk(b"tRNS", b"\0")),
        ORANGE,
    ),
    (
        "palette, alphas",
        lambda: png(8, 3, b"\0\1", chunk(b"PLTE", bytes([9, 9, 9, *ORANGE])), chunk(b"tRNS", b"\0\x80")),
        (102, 51, 153),
    ),
    (
        "palette of 2 bits",
        lambda: png(2, 3, b"\x10", chunk(b"PLTE", bytes([9, 9, 9, *ORANGE])), chunk(b"tRNS", b"\0")),
        ORANGE,
    ),
    ("grey and alpha", lambda: png(8, 4, bytes([7, 0, 128, 255])), GREY),
    ("grey and alpha of 16 bits", lambda: png(16, 4, u16(7, 0, 32896, 65535)), GREY),
    ("RGBA", lambda: png(8, 6, bytes([7, 7, 7, 0, *ORANGE, 128])), (102, 51, 153)),
    ("RGBA of 16 bits", lambda: png(16, 6, u16(7, 7, 7, 0, *(257 * v for v in ORANGE), 65535)), ORANGE),
    *(
        (f"{kind} with alpha", lambda kind=kind, options=options: saved(two_pixels(), kind, **options), ORANGE)
        for kind, options in {
            "GIF": {},
            "WEBP": {"lossless": True},
            "TIFF": {},
            "TGA": {},
            "QOI": {},
            "SGI": {},
            "DDS": {},
            "JPEG2000": {},
            "ICO": {"sizes": [(32, 32)]},
            "ICNS": {},
            "AVIF": {"quality": 100, "subsampling": "4:4:4"},
            "IM": {},
        }.items()
    ),
    ("BMP with a mask for alpha", lambda: bmp(bytes([9, 9, 9, 0, *ORANGE[::-1], 255])), ORANGE),
    ("TIFF, premultiplied", lambda: premultiplied(), ORANGE),
    ("palette and alpha in a TIFF", lambda: saved(two_pixels().convert("PA"), "TIFF"), ORANGE),
    ("grey and alpha in a TGA", lambda: saved(two_pixels().convert("LA"), "TGA"), (127, 127, 127)),
]


def two_pixels() -> Image.Image:
    """Left half transparent, right half orange."""
    picture = Image.new("RGBA", (32, 32), (*ORANGE, 255))
    picture.paste((9, 9, 9, 0), (0, 0, 16, 32))
    return picture


def bmp(row: bytes) -> bytes:
    """A BMP of one row of BGRA, with the header that says where alpha is."""
    info = struct.pack("<IiiHHIIiiII", 108, len(row) // 4, 1, 1, 32, 3, len(row), 2835, 2835, 0, 0)
    info += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(row), 0, 0, 14 + len(info)) + info + row


def premultiplied() -> bytes:
    content = bytearray(saved(two_pixels(), "TIFF"))
    at = content.index(struct.pack("<HHI", 338, 3, 1)) + 8  # ExtraSamples
    content[at : at + 2] = struct.pack("<H", 1)
    return bytes(content)


@pytest.mark.parametrize(("make", "opaque"), [row[1:] for row in TRANSPARENT], ids=[row[0] for row in TRANSPARENT])
def test_transparent_pixels_show_the_background(make: Callable[[], bytes], opaque: Color) -> None:
    picture = decode_picture(make(), "blue")
    found = [picture.getpixel((x, picture.height // 2)) for x in (0, picture.width - 1)]
    assert_near(found[0], BLUE, 1)  # type: ignore[arg-type]
    assert_near(found[1], opaque, 3)  # type: ignore[arg-type]


WITH_PROFILES: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 100, "subsampling": 0},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("color", [(200, 150, 120), (60, 180, 60), (128, 128, 128), (255, 255, 255), (0, 0, 0)])
@pytest.mark.parametrize("kind", WITH_PROFILES)
def test_a_wide_profile_is_brought_to_srgb(kind: str, color: Color) -> None:
    content = saved(Image.new("RGB", (SIDE, SIDE), color), kind, icc_profile=P3, **WITH_PROFILES[kind])
    assert_near(color_of(content), encode_srgb(P3_TO_SRGB @ (np.array(color) / 255) ** 2.2), 3)


@pytest.mark.parametrize("mode", ["P", "RGBA", "PA", "L", "1", "YCbCr"])
def test_a_profile_counts_in_every_mode(mode: str) -> None:
    picture, color = in_mode(mode)
    kind = "JPEG" if mode == "YCbCr" else "TIFF"
    content = saved(picture, kind, icc_profile=P3, **WITH_PROFILES[kind])
    assert_near(color_of(content), encode_srgb(P3_TO_SRGB @ (np.array(color) / 255) ** 2.2), 3)


def test_what_is_transparent_stays_so_under_a_profile() -> None:
    picture = decode_picture(saved(two_pixels(), "PNG", icc_profile=P3), "blue")
    assert picture.getpixel((0, 0)) == BLUE
    assert_near(picture.getpixel((31, 0)), encode_srgb(P3_TO_SRGB @ (np.array(ORANGE) / 255) ** 2.2), 3)  # type: ignore[arg-type]


def test_pixels_under_an_srgb_profile_are_as_they_were() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for profile in (SRGB, None):
        read = decode_picture(saved(Image.fromarray(pixels), "PNG", icc_profile=profile), "white")
        assert np.array_equal(np.asarray(read), pixels)
        assert notices_of(read) == []


def grey_profile(gamma: float) -> bytes:
    """Of a grey space whose stored numbers are the light to the power 1 / gamma."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
    white = b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249))
    table = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", 156, 20) + b"kTRC" + struct.pack(">II", 176, 16)
    header = struct.pack(">I4sI4s4s4s", 192, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:] + bytes(48)
    return header + table + white + curve


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "I;16"])
def test_a_grey_profile_counts(mode: str) -> None:
    picture, _ = in_mode("I;16" if mode == "I;16" else "L")
    content = saved(picture if mode == "I;16" else picture.convert(mode), "PNG", icc_profile=grey_profile(1.0))
    assert_near(color_of(content), encode_srgb(np.full(3, 128 / 255)), 2)


def cmyk_profile() -> bytes:
    """Of inks that are grey: all of C takes half of the lightness, all of K takes it all, M and Y take nothing."""
    lightness = [(128 if cyan else 255) * (1 - black) for cyan in (0, 1) for _ in range(4) for black in (0, 1)]
    grid = b"".join(bytes([light, 128, 128]) for light in lightness)  # Lab
    ramp = bytes(range(256))
    one = b"".join(struct.pack(">i", value << 16) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + one + 4 * ramp + grid + 3 * ramp
    white = b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249))
    table = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", 156, 20) + b"A2B0" + struct.pack(">II", 176, len(lut))
    header = struct.pack(">I4sI4s4s4s", 176 + len(lut), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:] + bytes(48)
    return header + table + white + lut


def signalling(kind: str, primaries: int, transfer: int) -> bytes:
    picture = Image.new("RGB", (SIDE, SIDE), ORANGE)
    if kind == "PNG":
        content = saved(picture, "PNG")
        return content[:33] + chunk(b"cICP", bytes([primaries, transfer, 0, 1])) + content[33:]
    changed = bytearray(saved(picture, "AVIF", **WITH_PROFILES["AVIF"]))
    at = changed.index(b"colrnclx") + 8
    changed[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_what_a_picture_signals_by_numbers_counts(kind: str) -> None:
    stored = np.array(ORANGE) / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    assert_near(color_of(signalling(kind, 1, 13)), ORANGE, 4)
    assert_near(color_of(signalling(kind, 12, 13)), encode_srgb(P3_TO_SRGB @ light), 5)
    assert color_of(signalling(kind, 9, 1))[0] > ORANGE[0] + 20
    for transfer in (16, 18):
        with pytest.raises(UserError, match="is HDR"):
            decode_picture(signalling(kind, 9, transfer), "white")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_cmyk_picture_goes_through_its_profile(kind: str) -> None:
    for inks, lightness in (((0, 0, 0, 0), 255), ((255, 0, 0, 0), 119)):
        picture = Image.new("CMYK", (SIDE, SIDE), inks)
        content = saved(picture, kind, icc_profile=cmyk_profile(), **WITH_PROFILES[kind])
        assert_near(color_of(content), (lightness,) * 3, 3)


def test_a_profile_that_cannot_be_used_is_noticed_and_the_pixels_stay() -> None:
    orange = Image.new("RGB", (SIDE, SIDE), ORANGE)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile, picture, notice in (
        (b"not a profile", orange, UNUSABLE),
        (P3[:200], orange, UNUSABLE),
        (P3[:200] + bytes(400), orange, UNUSABLE),
        (lab, orange, UNUSABLE),
        (grey_profile(2.2), orange, FOREIGN),
        (P3, Image.new("CMYK", (SIDE, SIDE), (0, 128, 191, 51)), FOREIGN),
        (cmyk_profile(), orange, FOREIGN),
    ):
        read = decode_picture(saved(picture, "TIFF", icc_profile=profile), "white")
        assert notices_of(read) == [notice]
        assert_near(read.getpixel((5, 5)), ORANGE)  # type: ignore[arg-type]


def test_gamma_of_a_png_counts_where_it_says_no_more() -> None:
    row = bytes([*ORANGE, *ORANGE])
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    usual = chunk(b"gAMA", struct.pack(">I", 45_455))
    srgb = chunk(b"sRGB", b"\0")
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB))
    corners = chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in P3_PRIMARIES)))
    light = np.array(ORANGE) / 255
    assert color_of(png(8, 2, row)) == color_of(png(8, 2, row, usual)) == ORANGE
    assert color_of(png(8, 2, row, srgb, linear)) == color_of(png(8, 2, row, profile, linear)) == ORANGE
    assert color_of(png(8, 2, row, corners)) == ORANGE
    assert_near(color_of(png(8, 2, row, linear)), encode_srgb(light), 2)
    assert_near(color_of(png(8, 2, row, usual, corners)), encode_srgb(P3_TO_SRGB @ light**2.2), 3)
    for absurd in (0, 1, 2**31):
        assert color_of(png(8, 2, row, chunk(b"gAMA", struct.pack(">I", absurd)))) == ORANGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_every_format_is_turned_upright_once(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), "black")
    upright.paste((255, 255, 255), (0, 0, 24, 16))
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = back[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = decode_picture(saved(upright if turn is None else upright.transpose(turn), kind, exif=exif), "white")
    assert read.size == (48, 32)
    assert [read.getpixel(place)[0] > 128 for place in ((4, 4), (40, 4), (4, 28))] == [True, False, False]  # type: ignore[index]


def test_damaged_exif_costs_no_picture() -> None:
    content = saved(Image.new("RGB", (SIDE, SIDE), ORANGE), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert color_of(content) == ORANGE
    assert notices_of(decode_picture(content, "white")) in ([], [DAMAGED_EXIF])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_several_frames_the_first_is_read_and_that_is_noticed(kind: str) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), color) for color in (ORANGE, (0, 0, 255))]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert_near(color_of(content), ORANGE, 4)
    assert notices_of(decode_picture(content, "white")) == [SEVERAL_FRAMES]


def tiff_of_channels(values: np.ndarray) -> bytes:
    """A TIFF of 16 bits in each of three channels, `H W 3`, uncompressed."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes() + struct.pack("<4H", 16, 16, 16, 0)
    size = len(data) - 8
    tags = {256: width, 257: height, 259: 1, 262: 2, 273: 8, 277: 3, 278: height, 279: size}
    entries = sorted([*((tag, 4, 1, value) for tag, value in tags.items()), (258, 3, 3, 8 + size)])
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + body + bytes(4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("value", "noticed"), [(200, True), (3000, True), (30_000, False)])
def test_sixteen_bits_in_several_channels_of_which_few_are_used_are_noticed(
    kind: str, value: int, noticed: bool
) -> None:
    row = [value, value // 2, 0] * 2
    content = png(16, 2, u16(*row)) if kind == "PNG" else tiff_of_channels(np.array(row, np.uint16).reshape(1, 2, 3))
    assert notices_of(decode_picture(content, "white")) == ([NEARLY_BLACK] if noticed else [])


@pytest.mark.parametrize("kind", ["EPS", "PDF"])
def test_what_is_no_still_picture_reaches_no_decoder_whatever_its_name(kind: str) -> None:
    with pytest.raises(UserError, match="is not a picture that Pillow can read"):
        decode_picture(saved(Image.new("RGB", (SIDE, SIDE)), kind), "white")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8))


@pytest.mark.parametrize("kept", [0.6, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP", "AVIF", "PNG", "GIF", "JPEG2000"])
def test_a_download_that_reserved_its_space_and_stopped_is_refused(kind: str, kept: float) -> None:
    content = saved(NOISE, kind)
    size = int(kept * len(content))
    with pytest.raises(UserError, match=r"is cut short|cannot be read|is not a picture"):
        decode_picture(content[:size] + bytes(len(content) - size), "white")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_zeros_after_a_whole_picture_do_no_harm(kind: str) -> None:
    assert decode_picture(saved(NOISE, kind) + bytes(4096), "white").size == (128, 128)
