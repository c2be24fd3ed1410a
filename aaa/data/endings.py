"""What a file's name says of it: a picture, a caption, or nothing that anybody meant as data."""

import unicodedata
from functools import cache

from PIL import Image

CAPTION_SUFFIXES = (".txt", ".caption", ".text")  # the first one found beside a picture is read
PACKED = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# Formats that Pillow knows by name but that are no still pictures, or that it hands to a program outside.
NO_PICTURES = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
# What systems and programs leave beside people's files. Names that begin with a dot are passed over anyway.
LEFT_BY_SYSTEMS = frozenset({"__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"})
LEFT_BY_SYSTEMS |= frozenset({"system volume information", "lost+found", "__pycache__", "icon\r"})
DOCUMENTS = frozenset({"readme", "license", "licence", "notice", "citation", "changelog", "croissant"})


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read: all still pictures that it opens by itself."""
    Image.init()
    return tuple(kind for kind in Image.OPEN if kind not in NO_PICTURES)


@cache
def picture_suffixes() -> frozenset[str]:
    """Endings, in small letters, of the pictures that are read."""
    formats = picture_formats()
    opened = {ending for ending, kind in Image.registered_extensions().items() if kind in formats}
    return frozenset(opened | {".mpo"})  # a JPEG with more than one picture


def suffix(name: str) -> str:
    """The ending of a file's name, in small letters with its dot, or nothing."""
    file = name.rpartition("/")[2]
    stem, dot, ending = file.rpartition(".")
    return f".{ending.lower()}" if stem and dot else ""


def without_suffix(name: str) -> str:
    """A name without its ending."""
    ending = suffix(name)
    return name[: -len(ending)] if ending else name


def is_picture(name: str) -> bool:
    """Whether the ending is one that is read as a picture."""
    return suffix(name) in picture_suffixes()


def is_caption(name: str) -> bool:
    """Whether the ending is one of a text beside a picture."""
    return suffix(name) in CAPTION_SUFFIXES


def is_hidden(part: str) -> bool:
    """Whether a file or folder of this name is hidden, or was left there by a system."""
    return part.startswith(".") or part.lower() in LEFT_BY_SYSTEMS


def is_document(name: str) -> bool:
    """Whether a file is one for people to read: a README, a licence."""
    return name.rpartition("/")[2].partition(".")[0].lower() in DOCUMENTS


def same_letters(name: str) -> str:
    """A name in one Unicode form: macOS takes letters with accents apart, tables have them in one piece."""
    return unicodedata.normalize("NFC", name)


def shown(name: str) -> str:
    """A name as a message may show it: nothing that a terminal would obey, and no more than fits on a line."""
    name = name if len(name) <= 100 else f"{name[:97]}..."
    return name if name.isprintable() else ascii(name)
