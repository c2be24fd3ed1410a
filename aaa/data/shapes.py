"""The built-in data set: coloured shapes with a sentence that says what is in the picture.

Everything is computed from a number, so any machine makes the same pictures and nothing is downloaded.
Pairs of (shape, colour) in `HELD_OUT` never occur in training: a model that draws them has understood the
words rather than remembered the pictures.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from aaa.data.records import Record, Split
from aaa.errors import UserError

COLORS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 50),
    "green": (50, 160, 70),
    "cyan": (70, 205, 215),
    "blue": (40, 80, 220),
    "purple": (135, 55, 185),
    "pink": (245, 130, 185),
}
BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128), "navy": (20, 30, 85)}
SIZES = {"small": 0.18, "medium": 0.24, "large": 0.31}  # radius over the side of the picture
POSITIONS = {
    f"{row} {column}".strip() or "center": (x, y)
    for row, y in (("top", 0.35), ("", 0.5), ("bottom", 0.65))
    for column, x in (("left", 0.35), ("", 0.5), ("right", 0.65))
}


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # An equilateral triangle whose corners lie on the unit circle: three half-planes at distance 1/2.
    slope = np.sqrt(3) / 2
    return np.maximum(y, slope * np.abs(x) - y / 2) - 0.5


# Distance to the edge of a shape of unit radius around its centre of mass, negative inside; y points down.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.9,
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "triangle": lambda x, y: _triangle(x / 1.1, y / 1.1) * 1.1,
    "diamond": lambda x, y: (np.abs(x) + np.abs(y) - 1.05) / np.sqrt(2),
    "cross": lambda x, y: np.minimum(_box(x, y, 1.0, 0.33), _box(x, y, 0.33, 1.0)),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
}
HELD_OUT = frozenset(zip(SHAPES, COLORS, strict=False))  # (circle, red), (square, orange), ...


@dataclass(frozen=True)
class Scene:
    """What a picture shows, in words."""

    shape: str
    color: str
    size: str
    position: str
    background: str

    @property
    def prompt(self) -> str:
        """The scene as a sentence, at most 12 words."""
        return f"a {self.size} {self.color} {self.shape} at the {self.position} on a {self.background} background"


def _all_scenes() -> list[Scene]:
    return [Scene(*words) for words in product(SHAPES, COLORS, SIZES, POSITIONS, BACKGROUNDS)]


SEEN_SCENES = tuple(scene for scene in _all_scenes() if (scene.shape, scene.color) not in HELD_OUT)
HELD_OUT_SCENES = tuple(scene for scene in _all_scenes() if (scene.shape, scene.color) in HELD_OUT)


def coverage(shape: str, center_x: float, center_y: float, radius: float, resolution: int) -> np.ndarray:
    """How much of each pixel the shape covers: `resolution resolution` in 0..1, lengths over the side."""
    pixels = (np.arange(resolution) + 0.5) / resolution
    x, y = (pixels - center_x)[None, :] / radius, (pixels - center_y)[:, None] / radius
    distance = SHAPES[shape](x, y) * radius * resolution  # in pixels
    return np.clip(0.5 - distance, 0, 1)


def draw(scene: Scene, resolution: int, offset: tuple[float, float] = (0.0, 0.0)) -> Image.Image:
    """Draw the scene, anti-aliased, its centre moved by `offset` (over the side of the picture)."""
    x, y = POSITIONS[scene.position]
    alpha = coverage(scene.shape, x + offset[0], y + offset[1], SIZES[scene.size], resolution)[..., None]
    color, background = np.array(COLORS[scene.color]), np.array(BACKGROUNDS[scene.background])
    return Image.fromarray(np.rint(alpha * color + (1 - alpha) * background).astype(np.uint8))


def scenes(pool: tuple[Scene, ...], count: int, name: str) -> list[Scene]:
    """`count` scenes drawn from `pool`: the same for the same `name`, and no two alike if the pool is big enough."""
    rng = random.Random(f"aaa shapes {name}")
    rounds = -(-count // len(pool))
    return [scene for _ in range(rounds) for scene in rng.sample(pool, len(pool))][:count]


class ShapesSource:
    """Records of drawn shapes: `num_records` to train on, `num_validation` of held-out pairs to validate on.

    Args:
        resolution: height and width of the pictures in pixels.
        num_records: pictures to train on.
        num_validation: pictures of held-out pairs of shape and colour.
        jitter: how far a centre may wander from its position, over the side of the picture.
    """

    def __init__(self, resolution: int, num_records: int, num_validation: int, jitter: float = 0.0) -> None:
        for name, value in (("num_records", num_records), ("num_validation", num_validation), ("jitter", jitter)):
            if not value >= 0:
                raise UserError(f"data.source.{name}={value}: must be at least 0.")
        self.resolution, self.jitter = resolution, jitter
        self._scenes: list[tuple[Split, Scene]] = [
            ("train", scene) for scene in scenes(SEEN_SCENES, num_records, "train")
        ]
        self._scenes += [("validation", scene) for scene in scenes(HELD_OUT_SCENES, num_validation, "validation")]

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Record:
        split, scene = self._scenes[index]
        rng = random.Random(f"aaa shapes {index}")
        offset = (rng.uniform(-self.jitter, self.jitter), rng.uniform(-self.jitter, self.jitter))
        return Record(
            key=f"{split}-{index:06d}",
            prompt=scene.prompt,
            split=split,
            load=lambda: draw(scene, self.resolution, offset),
        )
