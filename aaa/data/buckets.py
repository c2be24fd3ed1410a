"""Which height and width a picture is cut to: one square for all, or the nearest of several aspect ratios.

Buckets of aspect ratios keep tall and wide pictures from losing their ends (NovelAI 2022, SDXL's appendix I, Podell
et al. 2023).
"""

import math
from collections.abc import Callable

STEPS = 16  # sizes of a bucket differ by about a sixteenth of the resolution, as SDXL's 64 of 1024


def square(resolution: int) -> Callable[[int, int], tuple[int, int]]:
    """Every picture to the same square."""
    return lambda _width, _height: (resolution, resolution)


def bucket_sizes(resolution: int, factor: int, max_aspect_ratio: float) -> list[tuple[int, int]]:
    """Heights and widths with about as many pixels as the square of this resolution, never more.

    Args:
        resolution: side of the square, a multiple of `factor`.
        factor: what heights and widths are multiples of: the VAE's downscale factor.
        max_aspect_ratio: of the longer side to the shorter.
    """
    step = factor * max(1, round(resolution / STEPS / factor))
    sizes = {(resolution, resolution)}
    for short in range(step, resolution, step):
        long = resolution**2 // short // step * step
        if short < long <= short * max_aspect_ratio:
            sizes |= {(short, long), (long, short)}
    return sorted(sizes)


def nearest_bucket(sizes: list[tuple[int, int]]) -> Callable[[int, int], tuple[int, int]]:
    """Every picture to the size of these (heights and widths) whose aspect ratio is nearest to its own."""

    def fit(width: int, height: int) -> tuple[int, int]:
        return min(sizes, key=lambda size: abs(math.log(size[1] / size[0]) - math.log(width / height)))

    return fit
