"""Build the latent cache that training would build by itself: `python -m aaa.encode data=... encoder=...`."""

import logging
from typing import TYPE_CHECKING

from aaa.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


RECONSTRUCTIONS = 16


def encode(config: "DictConfig") -> None:
    """Build the cache, or find that it is there, and show what it keeps of the pictures."""
    from aaa.assembly.data import open_latents
    from aaa.assembly.parts import pick_device
    from aaa.config.checks import check_config
    from aaa.evaluation.grid import make_grid
    from aaa.evaluation.reconstruction import reconstruct

    check_config(config)
    cache, vae, source, fit = open_latents(config, pick_device(config.trainer.device))
    size = sum(file.stat().st_size for file in cache.path.iterdir())
    logger.info(
        "%d records in %s: latents %s, prompt_embeds %s, %.1f kB a record",
        len(cache),
        cache.path,
        ", ".join("x".join(map(str, shape)) for shape in cache.shapes),
        "x".join(map(str, cache.prompt_shape)),
        size / len(cache) / 1000,
    )
    shown = reconstruct(cache, vae, source, fit, RECONSTRUCTIONS)
    pairs = [picture for pair in zip(shown.originals, shown.decoded, strict=True) for picture in pair]
    captions = [text for psnr in shown.psnr.tolist() for text in ("original", f"{psnr:.1f} dB")]
    path = cache.path / "reconstructions.png"
    make_grid(pairs, captions).save(path)
    logger.info(
        "Decoded again, %d of them differ by %.1f dB PSNR on average: %s", len(shown.psnr), shown.psnr.mean(), path
    )


def main() -> None:
    """Entry point of `aaa-encode`."""
    run(encode, "encode")


if __name__ == "__main__":
    main()
