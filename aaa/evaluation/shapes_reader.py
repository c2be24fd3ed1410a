"""Reads what a picture of the built-in data set shows, by geometry: no weights, nothing learned."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from aaa.data.shapes import BACKGROUNDS, COLORS, SHAPES, coverage

MIN_CONTRAST = 0.1  # of the distance black-white; a picture with less holds no shape
MIN_OVERLAP = 0.75  # intersection over union with the nearest perfect shape, below which the shape is unclear
MAX_COLOR_DISTANCE = 0.12  # of the distance black-white; a colour further from every known one is unclear
UNCLEAR = "unclear"


@dataclass(frozen=True)
class Reading:
    """What the reader saw; each may be `unclear`."""

    shape: str
    color: str
    background: str


def read(image: Image.Image) -> Reading:
    """Tell shape, colour and background colour of a picture with one shape."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(border, axis=0)
    distance = np.linalg.norm(pixels - background, axis=-1) / np.sqrt(3)
    background_name = _nearest(background, BACKGROUNDS)
    if distance.max() < MIN_CONTRAST:
        return Reading(UNCLEAR, UNCLEAR, background_name)
    inside = distance > 0.6 * np.quantile(distance, 0.98)
    color = np.median(pixels[inside], axis=0)
    direction = color - background
    if not direction.any():  # noise of which most is as the border is
        return Reading(UNCLEAR, _nearest(color, COLORS), background_name)
    alpha = np.clip((pixels - background) @ direction / (direction @ direction), 0, 1)
    return Reading(_shape(alpha), _nearest(color, COLORS), background_name)


def _nearest(color: np.ndarray, palette: dict[str, tuple[int, int, int]]) -> str:
    distances = {name: float(np.linalg.norm(color - np.array(rgb) / 255) / np.sqrt(3)) for name, rgb in palette.items()}
    name = min(distances, key=distances.__getitem__)
    return name if distances[name] <= MAX_COLOR_DISTANCE else UNCLEAR


def _shape(alpha: np.ndarray) -> str:
    """The shape that, drawn with this coverage's area around its centre of mass, overlaps it best."""
    resolution = max(alpha.shape)
    alpha = np.where(alpha < 0.15, 0, alpha)  # specks of a sampled background would move the centre
    alpha = np.pad(alpha, [(0, resolution - side) for side in alpha.shape])  # perfect shapes are drawn into squares
    area = alpha.sum()
    ys, xs = np.mgrid[:resolution, :resolution] + 0.5
    x, y = (xs * alpha).sum() / area / resolution, (ys * alpha).sum() / area / resolution
    overlaps = {}
    for shape, unit_area in UNIT_AREAS.items():
        radius = np.sqrt(area / unit_area) / resolution
        ideal = coverage(shape, x, y, radius, resolution)
        overlaps[shape] = np.minimum(alpha, ideal).sum() / np.maximum(alpha, ideal).sum()
    best = max(overlaps, key=overlaps.__getitem__)
    return best if overlaps[best] >= MIN_OVERLAP else UNCLEAR


# The area of each shape at radius 1, measured on a fine drawing.
UNIT_AREAS = {shape: coverage(shape, 0.5, 0.5, 0.25, 512).sum() / 512**2 / 0.25**2 for shape in SHAPES}
