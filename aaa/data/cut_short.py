"""Files whose end is missing though their size is right: a download that reserved its space and then stopped."""

RESERVED = 512  # zeros at the end that no encoder writes


def is_cut_short(content: bytes, kind: str | None) -> bool:
    """Whether a picture's file ends in reserved space where its pixels should be, which decoders take for pixels.

    PNG, GIF, JPEG 2000 and packed TIFF tell their decoder that something is missing; in BMP and the like zeros are
    black.

    Args:
        content: of the file.
        kind: Pillow's name of its format.
    """
    if kind == "WEBP":
        content = content[: 8 + int.from_bytes(content[4:8], "little")]
    if kind not in ("JPEG", "MPO", "WEBP", "AVIF") or content[-RESERVED:].strip(b"\0"):
        return False
    # Cameras pad whole JPEGs with zeros: what counts is whether the last scan comes to its end.
    return kind in ("WEBP", "AVIF") or content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
