"""Draw pictures with a trained model: `python -m aaa.sample model=PATH prompt="..."`."""

import logging
from collections.abc import Collection
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from aaa.cli import SAVED_MODEL, run
from aaa.run.earlier_sweep import output_dir_of_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)

OUT = Path("samples")  # where no other folder is asked for
GRID = "grid.png"


def sample(config: "DictConfig") -> None:
    """Write the pictures and a grid of them."""
    from aaa.config.command_schema import SampleConfig
    from aaa.config.ranges import require_ranges
    from aaa.pipelines.draw_request import DrawRequest
    from aaa.tracking.files import require_writable

    require_ranges(SampleConfig, config)
    request = DrawRequest(
        config.prompt,
        config.negative_prompt,
        num_images=config.num_images,
        seed=config.seed,
        height=config.height,
        width=config.width,
        input_image=None if config.input_image is None else Path(config.input_image),
        denoising_strength=config.denoising_strength,
        steps=config.steps,
        last_sigma=config.last_sigma,
        sampler=config.sampler,
        guidance=config.guidance,
    )
    files = [f"seed-{seed}.png" for seed in request.seeds]

    def out() -> Path:
        if (own := output_dir_of_job()) is not None:  # each job of a sweep draws with other settings
            return own
        return unused(OUT, [*files, GRID]) if config.out is None else Path(config.out)

    require_writable(out())  # before minutes of drawing are lost on it
    from aaa.assembly.parts import pick_device  # with torch, which no error so far needs
    from aaa.evaluation.grid import make_grid
    from aaa.pipelines.text_to_image import TextToImage
    from aaa.saved.models import find_saved

    saved = find_saved(Path(config.saved_model), config.weights, config.trust_config, config.heads)
    model = TextToImage(saved, pick_device(config.device), config.preview, config.precision)
    pictures = model(request)
    folder = out()  # others may have drawn meanwhile
    folder.mkdir(parents=True, exist_ok=True)
    for file, picture in zip(files, pictures, strict=True):
        picture.save(folder / file)
    make_grid(pictures, [f"seed {seed}" for seed in request.seeds]).save(folder / GRID)
    logger.info("Wrote %d pictures and %s to %s", len(pictures), GRID, folder)
    logger.info("Each took %s.", model.described(request))


def unused(folder: Path, files: Collection[str]) -> Path:
    """The first of `folder`, `folder-2`, `folder-3`, ... that has none of these files."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(place for place in chain([folder], others) if not any((place / file).exists() for file in files))


def main() -> None:
    """Entry point of `aaa-sample`."""
    run(sample, "sample", called=SAVED_MODEL)


if __name__ == "__main__":
    main()
