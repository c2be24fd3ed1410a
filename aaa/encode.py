"""Build the latent cache that training would build by itself: `python -m aaa.encode data=... encoder=...`."""

import logging
from typing import TYPE_CHECKING

from aaa.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def encode(config: "DictConfig") -> None:
    """Build the cache, or find that it is there."""
    from aaa.assemble import open_latents, pick_device
    from aaa.config import check_config

    check_config(config)
    cache, _ = open_latents(config, pick_device(config.trainer.device))
    logger.info(
        "%d records in %s: latents %s, prompt_embeds %s",
        len(cache),
        cache.path,
        ", ".join("x".join(map(str, shape)) for shape in cache.shapes),
        "x".join(map(str, cache.prompt_shape)),
    )


def main() -> None:
    """Entry point of `aaa-encode`."""
    run(encode, "encode")


if __name__ == "__main__":
    main()
