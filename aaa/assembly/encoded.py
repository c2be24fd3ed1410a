"""A latent cache that is encoded already, of which the pictures need not be here: `data=cache`."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aaa.assembly.parts import build_encoders, missing_weights
from aaa.config.leaves import leaves
from aaa.config.live_prompts import KEY, embeds_while_training
from aaa.config.mixture import data_schema
from aaa.config.schema import CacheConfig
from aaa.data.cache import LatentCache
from aaa.data.cache_folder import INDEX
from aaa.data.file_digests import FileDigests
from aaa.data.findings import say_of_earlier
from aaa.data.live_prompts import LiveCache, LiveRemoteCache
from aaa.data.remote_cache import RemoteCache
from aaa.encoders.protocols import VAE, HasWeights, NormalisesLatents, TextEncoder
from aaa.errors import UserError, reason

logger = logging.getLogger(__name__)

ELSEWHERE = "://"
COPIES = "copies"  # in data.cache_dir
WHERE = ("path", "model_id", "subfolder", "root")  # of an encoder's files, which may lie elsewhere here


def is_encoded(data: DictConfig) -> bool:
    """Whether data is a cache alone."""
    return data_schema(data) is CacheConfig


def open_encoded(config: DictConfig, device: str) -> tuple[LatentCache, VAE]:
    """Open the cache at `data.address`, and make the VAE that decodes its latents.

    Args:
        config: of a run.
        device: to decode on.

    Raises:
        UserError: if there is none, it cannot be read, or the config's encoder or resolution did not make it.
    """
    data = config.data
    vae, text_encoder = build_encoders(config)
    if missing := missing_weights([vae] if isinstance(vae, HasWeights) else []):
        raise UserError(f"The weights of encoder={config.encoder.name} are missing:\n  {missing[0]}")
    if ELSEWHERE in data.address:
        remote = LiveRemoteCache if embeds_while_training(config) else RemoteCache
        cache: LatentCache = remote(data.address, Path(data.cache_dir) / COPIES, int(data.local_cache_gib * 2**30))
    else:
        cache = _in_place(Path(data.address), LiveCache if embeds_while_training(config) else LatentCache)
    if not cache.prompt_shape[1] and not embeds_while_training(config):
        raise UserError(
            f"data.address={data.address}: this cache holds latents alone, and no prompt embeddings. {KEY}=false makes "
            "these while training."
        )
    logger.info("%d records in the latent cache %s", len(cache), data.address)
    if (most := data.get("max_records")) is not None:
        logger.warning("data.max_records=%d: a cache is taken whole.", most)
    say_of_earlier(cache.folder.build, cache.prompt_shape[0])
    index = json.loads((cache.path / INDEX).read_text(encoding="utf-8"))
    _require_made_by(index.get("origin") or {}, config, vae, text_encoder)
    make_ready(vae, cache, device)
    return cache, vae


def make_ready(vae: VAE, cache: LatentCache, device: str) -> None:
    """Let a VAE decode the latents of a cache on this device."""
    if isinstance(vae, HasWeights):
        vae.to(device)
    if isinstance(vae, NormalisesLatents) and cache.statistics is not None:
        vae.statistics = cache.statistics


def _in_place(path: Path, kind: type[LatentCache]) -> LatentCache:
    if not (path / INDEX).is_file():
        raise UserError(
            f"data.address={path}: no latent cache, which has an {INDEX}. Give the folder of one, below the "
            "data.cache_dir of what encoded it."
        )
    try:
        return kind(path)
    except UserError as error:
        raise UserError(f"data.address={path}: {reason(error)}") from None


def _require_made_by(origin: Mapping[str, Any], config: DictConfig, vae: VAE, text_encoder: TextEncoder) -> None:
    """Refuse a cache of another encoder or resolution; what it does not say of itself is not compared."""
    made: dict[str, Any] = {"data.resolution": origin["resolution"]} if "resolution" in origin else {}
    made |= _that_make(origin.get("encoder", {}))
    parts = {part: OmegaConf.to_container(config.encoder[part], resolve=True) for part in ("vae", "text_encoder")}
    now = {"data.resolution": config.data.resolution} | _that_make(parts)
    for key, value in made.items():
        if key in now and now[key] != value:
            raise UserError(f"{key}={now[key]}: the cache at data.address={config.data.address} has {key}={value}.")
    if "weights" not in origin:
        return
    uses = ((vae, "latents these cannot decode"), (text_encoder, "prompts these embed otherwise"))
    digests = digests_in(Path(config.data.cache_dir))
    for encoder, what in uses:
        if not isinstance(encoder, HasWeights) or encoder.missing_files():  # training needs no text encoder
            continue
        for file in encoder.weight_files:
            if digests.digest(file) not in origin["weights"]:
                raise UserError(
                    f"{file}: the cache at data.address={config.data.address} was made with other weights, whose "
                    f"{what}."
                )


def digests_in(cache_dir: Path) -> FileDigests:
    """The hashes of files that are kept beside the caches of this folder."""
    return FileDigests(cache_dir / "digests.jsonl")


def _that_make(encoder: Any) -> dict[str, Any]:
    """What of an encoder's config latents follow from, by dotted key."""
    return {key: value for key, value in leaves(encoder, "encoder") if not set(WHERE) & set(key.split("."))}
