"""A latent cache built from settings in one row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aaa.data.build_cache import CacheBuilder
from aaa.data.cache import LatentCache
from aaa.data.encoding import Fit, Pictures
from aaa.data.records import Record, Source
from aaa.encoders.protocols import VAE, TextEncoder


def built(
    path: Path,
    source: Source,
    encoders: Callable[[], tuple[VAE, TextEncoder]],
    *,
    identify: Callable[[Record], str],
    fit: Fit,
    horizontal_flip: bool,
    skip_unreadable: bool,
    batch_size: int,
    parts: int = 1,
    **settings: Any,
) -> LatentCache:
    """The cache, opened or built by this process alone."""
    pictures = Pictures(source, identify, fit, horizontal_flip, skip_unreadable, batch_size)
    return CacheBuilder(path, pictures, encoders, **settings).open(parts)
