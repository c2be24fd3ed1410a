"""Draw pictures with a trained model: `python -m aaa.sample model=PATH prompt="..."`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from aaa.cli import SAVED_MODEL, run
from aaa.run.earlier_sweep import folder_of_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def sample(config: "DictConfig") -> None:
    """Write the pictures and a grid of them."""
    from aaa.assembly.parts import pick_device
    from aaa.config.command_schema import SampleConfig
    from aaa.config.ranges import require_ranges
    from aaa.evaluation.grid import make_grid
    from aaa.pipelines.draw_request import DrawRequest
    from aaa.pipelines.text_to_image import TextToImage
    from aaa.saved.models import find_saved
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
        sampler=config.sampler,
        guidance=config.guidance,
    )
    out = folder_of_job(Path(config.out))  # each draws with other settings
    saved = find_saved(Path(config.saved_model), config.weights, config.trust_config, config.heads)
    model = TextToImage(saved, pick_device(config.device), config.preview, config.precision)
    require_writable(out)  # before minutes of drawing are lost on it
    pictures = model(request)
    out.mkdir(parents=True, exist_ok=True)
    for seed, picture in zip(request.seeds, pictures, strict=True):
        picture.save(out / f"seed-{seed}.png")
    make_grid(pictures, [f"seed {seed}" for seed in request.seeds]).save(out / "grid.png")
    logger.info("Wrote %d pictures and grid.png to %s", len(pictures), out)
    logger.info("Each took %s.", model.described(request))


def main() -> None:
    """Entry point of `aaa-sample`."""
    run(sample, "sample", called=SAVED_MODEL)


if __name__ == "__main__":
    main()
