"""Draw pictures with a trained model: `python -m aaa.sample model=PATH prompt="..."`."""

import logging
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from aaa.cli import SAVED_MODEL, run
from aaa.config.command_schema import SampleConfig
from aaa.config.ranges import require_ranges
from aaa.run.sweep_job import output_dir_of_job, say_which_job
from aaa.saved.named_model import require_there
from aaa.tracking.files import require_writable
from aaa.tracking.recorded_overrides import MULTIRUN

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from PIL import Image

    from aaa.pipelines.draw_request import DrawRequest
    from aaa.pipelines.text_to_image import TextToImage

logger = logging.getLogger(__name__)

OUT = Path("samples")  # where no other folder is asked for
GRID = "grid.png"
MOST_SHOWN = 64  # pictures in the grid, the first that are drawn


def sample(config: "DictConfig") -> None:
    """Write the pictures and a grid of them."""
    from aaa.pipelines.draw_request import DrawRequest
    from aaa.pipelines.prompts_file import beginnings_of_names, prompts_of

    say_which_job(SAVED_MODEL)
    require_ranges(SampleConfig, config)
    prompts = prompts_of(config)
    requests = [
        DrawRequest(
            prompt,
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
        for prompt in prompts
    ]
    beginnings = [""] if config.prompts is None else beginnings_of_names(prompts)
    seeds = [f"seed-{seed}" for seed in requests[0].seeds]
    files = [f"{beginning}{seed}.png" for beginning in beginnings for seed in seeds]

    def out() -> Path:
        if (own := output_dir_of_job()) is not None:  # each job of a sweep draws with other settings
            return own
        return unused(OUT, [*files, GRID, MULTIRUN]) if config.out is None else Path(config.out)

    require_writable(out())  # before minutes of drawing are lost on it
    require_there(Path(config.saved_model))
    from aaa.devices import pick_device  # with torch, which no error so far needs
    from aaa.evaluation.grid import make_grid
    from aaa.pipelines.text_to_image import TextToImage
    from aaa.saved.models import find_saved

    saved = find_saved(Path(config.saved_model), config.weights, config.trust_config, config.heads)
    device = pick_device(config.device)
    model = TextToImage(saved, device, config.preview, config.precision, trust_config=config.trust_config)
    folder: Path | None = None
    shown: list[Image.Image] = []
    there: set[str] = set()
    for beginning, pictures in zip(beginnings, drawn_of(model, requests), strict=True):
        if folder is None:
            folder = out()  # only now: others may have drawn meanwhile
            folder.mkdir(parents=True, exist_ok=True)
            there = {path.name for path in folder.glob("*seed-*.png")}
        for seed, picture in zip(seeds, pictures, strict=True):
            picture.save(folder / f"{beginning}{seed}.png")
        shown += pictures[: MOST_SHOWN - len(shown)]
    captions = [seed.replace("-", " ") for seed in seeds]
    if config.prompts is not None:
        captions = [prompt for prompt in prompts for _ in seeds]
    assert folder is not None  # there is a prompt
    heading = None if config.prompts is not None else {0: prompts[0]}
    make_grid(shown, captions[: len(shown)], headings=heading).save(folder / GRID)
    counted = "1 picture" if len(files) == 1 else f"{len(files)} pictures"
    grid = GRID if len(shown) == len(files) else f"{GRID} with the first {len(shown)}"
    logger.info("Wrote %s and %s to %s", counted, grid, folder)
    if left := sorted(there - set(files)):
        logger.warning(
            "Of pictures that were drawn before %d are still there, such as %s.", len(left), folder / left[0]
        )
    logger.info("Each took %s.", model.described(requests[0]))


def drawn_of(model: "TextToImage", requests: "Sequence[DrawRequest]") -> "Iterator[list[Image.Image]]":
    """The pictures of each request, showing how far all of them are."""
    from aaa.tracking.console import display

    taken = 0
    with display("Drawing", model.steps(requests)) as bar:

        def shown(levels: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
            nonlocal taken
            for level in levels:
                yield level
                bar.update(taken := taken + 1)

        yield from model.of_prompts(requests, shown)


def unused(folder: Path, files: Collection[str]) -> Path:
    """The first of `folder`, `folder-2`, `folder-3`, ... that has none of these files."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(place for place in chain([folder], others) if not any((place / file).exists() for file in files))


def main() -> None:
    """Entry point of `aaa-sample`."""
    run(sample, "sample", called=SAVED_MODEL)


if __name__ == "__main__":
    main()
