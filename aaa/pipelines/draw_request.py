"""What is asked of a trained model: pictures of a prompt."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from aaa.config.command_schema import SampleConfig
from aaa.config.ranges import require_ranges
from aaa.config.sampling_choice import SamplingChoice
from aaa.errors import UserError


@dataclass(frozen=True)
class DrawRequest(SamplingChoice):
    """Pictures of a prompt, one for each of the seeds `seed`, `seed + 1`, ...

    `steps`, `last_sigma`, `sampler` and `guidance` are those of `SamplingChoice`, given by name.

    Attributes:
        prompt: what to draw.
        negative_prompt: what to steer away from.
        num_images: how many.
        seed: of the first.
        height, width: in pixels, rounded up to multiples of the VAE's downscale factor; None for the resolution of the
            training pictures.
        input_image: a picture to start from, or its path.
        denoising_strength: how much of it to redraw, in (0, 1].

    Raises:
        UserError: if one of these numbers cannot be.
    """

    prompt: str
    negative_prompt: str = ""
    num_images: int = 1
    seed: int = 0
    height: int | None = None
    width: int | None = None
    input_image: Path | Image.Image | None = None
    denoising_strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = ("num_images", "seed", "height", "width", "denoising_strength")
        require_ranges(SampleConfig, {name: getattr(self, name) for name in numbers})
        if self.denoising_strength < 1 and self.input_image is None:
            raise UserError("denoising_strength below 1 needs a picture to start from: input_image=PATH.")
        if isinstance(self.input_image, str | Path) and not Path(self.input_image).is_file():
            is_folder = Path(self.input_image).is_dir()
            what = "is a folder. Give one of its pictures" if is_folder else "there is no such file"
            raise UserError(f"input_image={self.input_image}: {what}.")

    @property
    def seeds(self) -> range:
        """Of the pictures."""
        return range(self.seed, self.seed + self.num_images)

    def parts(self, most: int) -> Iterator["DrawRequest"]:
        """The same in requests of so many pictures at most."""
        for first in range(0, self.num_images, most):
            yield replace(self, seed=self.seed + first, num_images=min(most, self.num_images - first))
