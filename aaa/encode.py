"""Build the latent cache that training would build by itself: `python -m aaa.encode data=... encoder=...`."""

import logging
from typing import TYPE_CHECKING

from aaa.cli import run
from aaa.config.mixture import config_of_part, data_schema, parts_of
from aaa.config.schema import CacheConfig
from aaa.errors import UserError
from aaa.tracking.variables import is_helper, place_in_launch

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aaa.assembly.latents import Latents

logger = logging.getLogger(__name__)


# Pictures that are decoded again: as many as make so many pixels together, within these bounds.
DECODED_PIXELS, LEAST_DECODED, MOST_DECODED = 16 * 256 * 256, 4, 16


def encode(config: "DictConfig") -> None:
    """Build the cache, or that of each data set of a mixture, and show what it keeps of the pictures."""
    from aaa.config.checks import check_config
    from aaa.config.parts import check_part

    check_config(config)
    check_part(config.encode)
    mixed = [config_of_part(config, name) for name in parts_of(config.data)]
    for one in mixed or [config]:
        if data_schema(one.data) is not CacheConfig:
            _encode(one)
        elif not mixed:
            raise UserError(f"data={one.data.name}: the cache at data.address is encoded already.")


def _encode(config: "DictConfig") -> None:
    """Build a cache, a part of it, or find that it is there."""
    from aaa.assembly.latents import Share, encode_part, open_latents

    rank, processes, _ = place_in_launch()
    part, parts = config.encode.part, config.encode.parts or processes
    device = _device_of(config)
    if part is None:
        latents = open_latents(config, device, share=Share(rank % parts, parts))
    else:
        found = encode_part(config, device, Share(part, parts))
        if found is None:
            logger.info("Part %d of %d is encoded; the last of them to end puts all together.", part, parts)
            return
        latents = found
    if not is_helper():
        _show(latents, max(LEAST_DECODED, min(MOST_DECODED, DECODED_PIXELS // config.data.resolution**2)))


def _device_of(config: "DictConfig") -> str:
    """Where this process encodes: of several on a machine each takes a GPU, by turns."""
    import torch

    from aaa.devices import pick_device

    device = pick_device(config.trainer.device)
    *_, on_machine = place_in_launch()
    return f"cuda:{on_machine % torch.cuda.device_count()}" if device == "cuda" else device


def _show(latents: "Latents", count: int) -> None:
    """Say what the cache is, and put so many pictures beside what is kept of them."""
    from aaa.evaluation.grid import make_grid
    from aaa.evaluation.reconstruction import reconstruct

    cache, vae, source, fit, _ = latents
    path = cache.path / "reconstructions.png"
    size = sum(file.stat().st_size for file in cache.path.rglob("*") if file != path)
    logger.info(
        "%d records in %s: latents %s, prompt_embeds %s, %.1f kB a record",
        len(cache),
        cache.path,
        ", ".join("x".join(map(str, shape)) for shape in cache.shapes),
        "x".join(map(str, cache.prompt_shape)) if cache.prompt_shape[1] else "none",
        size / len(cache) / 1000,
    )
    logger.info("Decoding %d of them again ...", min(count, len(cache)))
    shown = reconstruct(cache, vae, source, fit, count)
    pairs = [picture for pair in zip(shown.originals, shown.decoded, strict=True) for picture in pair]
    captions = [text for psnr in shown.psnr.tolist() for text in ("original", _likeness(psnr))]
    make_grid(pairs, captions).save(path)
    differing = shown.psnr[shown.psnr.isfinite()]
    how = "all the same"
    if len(differing):
        how = f"{len(differing)} differ, by {differing.mean():.1f} dB PSNR on average"
    logger.info("Decoded again: %d of them, %s: %s", len(shown.psnr), how, path)


def _likeness(psnr: float) -> str:
    return f"{psnr:.1f} dB" if psnr < float("inf") else "identical"


def main() -> None:
    """Entry point of `aaa-encode`."""
    run(encode, "encode")


if __name__ == "__main__":
    main()
