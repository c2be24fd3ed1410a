"""Which records show the same picture: rows of one file, copies under other names or in other formats, mirrored ones.

A picture is the same where its pixels are, after scaling to the training resolution. What was compressed anew or cut
differently is another picture here.
"""

import hashlib
from collections.abc import Sequence

from PIL import Image, ImageOps

from aaa.data.cached_records import NO_PICTURE, CachedRecord


def picture_digest(picture: Image.Image) -> str:
    """What tells an RGB picture from others, the same for its mirrored copy: 16 bytes in hex."""
    pixels = min(picture.tobytes(), ImageOps.mirror(picture).tobytes())
    return hashlib.sha256(b"%d %d " % picture.size + pixels).hexdigest()[:32]


def of_earlier_version(records: Sequence[CachedRecord]) -> bool:
    """Whether they are of a cache that knows no pictures: its rows stay apart, and runs go on with that."""
    return any(record.picture == NO_PICTURE for record in records)


def picture_groups(records: Sequence[CachedRecord]) -> Sequence[int]:
    """For each record the first that shows the same picture: by its pixels, or by its key where they are unknown.

    In a cache of an earlier version every record is one of its own.
    """
    if of_earlier_version(records):
        return range(len(records))
    first_by_key: dict[str, int] = {}
    first_by_picture: dict[str, int] = {}
    return [
        first_by_picture.setdefault(record.picture, index)
        if record.picture
        else first_by_key.setdefault(record.key, index)
        for index, record in enumerate(records)
    ]
