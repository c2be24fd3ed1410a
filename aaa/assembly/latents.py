"""From a composed config to the latent cache of one data set: opened, or encoded first where there is none."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from aaa.assembly.encoded import WHERE, digests_in, make_ready
from aaa.assembly.keep import choice_in, keep_of
from aaa.assembly.own_encoders import require_latents, require_prompt_embeds
from aaa.assembly.parts import build_encoders, missing_weights
from aaa.assembly.same_latents import LATENTS_ALONE
from aaa.assembly.source import build_source, is_ours
from aaa.config.as_dict import as_dict
from aaa.config.live_prompts import KEY, embeds_while_training
from aaa.data.add_prompts import add_prompts
from aaa.data.buckets import bucket_sizes, nearest_bucket, square
from aaa.data.build_cache import CacheBuilder, open_whole
from aaa.data.cache import LatentCache, earlier_cache
from aaa.data.chosen_records import Choice
from aaa.data.code_fingerprint import code_fingerprint
from aaa.data.encoding import Fit, Pictures, batch_that_fits
from aaa.data.file_digests import FileDigests
from aaa.data.fingerprint import fingerprint, records_fingerprint
from aaa.data.live_prompts import LiveCache
from aaa.data.records import Record, Source
from aaa.encoders.prompt_lengths import lengths_alone
from aaa.encoders.protocols import VAE, HasWeights, TextEncoder
from aaa.errors import UserError

logger = logging.getLogger(__name__)

STORAGE_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PLACES = ("root", "path", "dataset_id")  # arguments of our sources that say where data lies, which does not matter
OF_DIFFUSERS = "aaa.encoders.diffusers_vae.DiffusersVAE"


class Share(NamedTuple):
    """What one of several processes encodes.

    Attributes:
        first: the part that it takes if it can, from 0.
        parts: that the records are divided into.
    """

    first: int = 0
    parts: int = 1


ALL = Share()


class Latents(NamedTuple):
    """A latent cache with what it was made from.

    Attributes:
        cache: of latents and prompt_embeds.
        vae: decodes its latents.
        source: of the pictures and prompts.
        fit: the size a picture is cut to, by its own.
        choice: what `data.keep` says of the records of the source; None where it is not said.
    """

    cache: LatentCache
    vae: VAE
    source: Source
    fit: Fit
    choice: Choice | None


def open_latents(config: DictConfig, device: str, trained_on: str | None = None, share: Share = ALL) -> Latents:
    """Open the latent cache of the config's data and encoder, building it first where there is none.

    Args:
        config: of a run.
        device: to encode on.
        share: of this process; it waits for those of others, and takes over those of dead ones.
        trained_on: fingerprint of the cache that the run was trained on so far. It is opened if it is still there and
            differs in nothing but the version of aaa that made it, so that the run goes on with the same latents and
            the same held-out records.

    Raises:
        UserError: naming at once everything that is missing.
    """
    plan = _plan(config, device, trained_on)
    plan.take_latents()
    return _opened(plan, plan.builder.open(share.parts, share.first), config, device)


def encode_part(config: DictConfig, device: str, share: Share) -> Latents | None:
    """Encode one part of that cache and no other; all of it where the others are there already, else None.

    Args:
        config, device: as `open_latents` takes them.
        share: the part.

    Raises:
        UserError: naming at once everything that is missing.
    """
    plan = _plan(config, device, None)
    plan.take_latents()
    cache = plan.builder.open_part(share.first, share.parts)
    return None if cache is None else _opened(plan, cache, config, device)


class _Plan(NamedTuple):
    """How a cache is opened or built.

    Attributes:
        take_latents: prepares the building from those of a cache without embeddings, if there is one.
        builder: opens the cache, or builds it.
        vae, source, fit, choice: see `Latents`.
    """

    take_latents: Callable[[], None]
    builder: CacheBuilder
    vae: VAE
    source: Source
    fit: Fit
    choice: Choice | None


def _without_place(vae: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a VAE, without where its files lie if it is `encoder=diffusers`: what they hold is looked at.

    (Caches that are there were made with the places of the others.)
    """
    if vae["_target_"] != OF_DIFFUSERS:
        return vae
    return {key: value for key, value in vae.items() if key not in WHERE} | {"patch_size": vae.get("patch_size") or 1}


def _opened(plan: _Plan, cache: LatentCache, config: DictConfig, device: str) -> Latents:
    if embeds_while_training(config):
        cache = LiveCache(cache.path)
    make_ready(plan.vae, cache, device)
    return Latents(cache, plan.vae, plan.source, plan.fit, plan.choice)


def _plan(config: DictConfig, device: str, trained_on: str | None) -> _Plan:
    data, encoder = config.data, config.encoder
    vae, text_encoder = build_encoders(config)
    weighty = [part for part in (vae, text_encoder) if isinstance(part, HasWeights)]
    source = build_source(config, _missing(vae, text_encoder))
    choice = choice_in(keep_of(data), source)  # now: what is wrong with it is told before any of these is encoded
    digests = digests_in(Path(data.cache_dir))
    source_arguments = as_dict(data.source)
    if is_ours(data.source):  # of one's own an argument of that name may mean anything
        source_arguments = {key: value for key, value in source_arguments.items() if key not in PLACES}
    encoder_arguments = {"vae": _without_place(as_dict(encoder.vae)), "text_encoder": as_dict(encoder.text_encoder)}
    targets = [source_arguments["_target_"], *(part["_target_"] for part in encoder_arguments.values())]
    recipe = {
        "encoder": encoder_arguments,
        "resolution": data.resolution,
        "buckets": data.buckets and data.max_aspect_ratio,
        "storage_dtype": encoder.storage_dtype,
        "weights": [digests.digest(path) for part in weighty for path in part.weight_files],
        "code": code_fingerprint([*targets, "aaa.data.build_cache.CacheBuilder"]),
    }
    records = {
        "source": source_arguments,
        "horizontal_flip": data.horizontal_flip,
        "skip_unreadable": data.skip_unreadable,
        "records": records_fingerprint(source, digests),
    }
    named = Path(data.cache_dir) / f"{data.name}-{encoder.name}-{data.resolution}"
    alone = embeds_while_training(config) and not _served_by_prompts(recipe | records, named, trained_on)
    if alone:
        recipe |= LATENTS_ALONE
    origin = recipe | records
    key = fingerprint(origin)
    path = _path_of(named, key)
    if trained_on not in (None, key):
        if (own := earlier_cache(named.parent, trained_on, origin)) is not None:
            logger.info("Going on with the latents that the run was trained on: %s", own)
            path, key = own, trained_on
        elif not embeds_while_training(config):
            _refuse_earlier_latents_alone(named.parent, trained_on, origin)
    identify = _identities(source, source_arguments, digests)

    fit = square(data.resolution)
    if data.buckets:
        fit = nearest_bucket(bucket_sizes(data.resolution, encoder.downscale_factor, data.max_aspect_ratio))

    batch_size = batch_that_fits(encoder.batch_size, data.resolution)

    def on_device() -> tuple[VAE, TextEncoder]:
        logger.info("Encoding %d records into the latent cache %s", len(source), path)
        for part in weighty:
            part.to(device)
        if not is_ours(encoder.vae):
            require_latents(vae, *fit(data.resolution, data.resolution))
        if not is_ours(encoder.text_encoder):
            require_prompt_embeds(text_encoder)
        return vae, lengths_alone(text_encoder) if alone else text_encoder

    builder = CacheBuilder(
        path,
        Pictures(source, identify, fit, data.horizontal_flip, data.skip_unreadable, batch_size),
        on_device,
        fingerprint=key,
        recipe=fingerprint(recipe),
        storage_dtype=STORAGE_DTYPES[encoder.storage_dtype],
        origin=origin,
    )

    def take_latents() -> None:
        without = _path_of(named, fingerprint(origin | LATENTS_ALONE))
        if path == without or not without.is_dir() or path.is_dir():
            return
        if isinstance(text_encoder, HasWeights):
            text_encoder.to(device)
        add_prompts(without, path, builder.recipe, text_encoder, builder.storage_dtype)

    return _Plan(take_latents, builder, vae, source, fit, choice)


def _refuse_earlier_latents_alone(caches: Path, trained_on: str, origin: dict[str, Any]) -> None:
    """Refuse to encode all pictures for a run that was trained on latents alone of an earlier version.

    Args:
        caches: folder of them.
        trained_on: fingerprint of the one that it was trained on, no cache with embeddings that is there.
        origin: of a cache with embeddings now.
    """
    origin_alone = origin | LATENTS_ALONE
    if trained_on == fingerprint(origin_alone):
        return  # these get embeddings
    if (own := earlier_cache(caches, trained_on, origin_alone)) is not None:
        raise UserError(
            f"{KEY}=null: the run was trained on {own}, latents alone that another version encoded. All pictures would "
            f"be encoded again, and the run be refused for that. Set {KEY}=false."
        )


def _path_of(named: Path, key: str) -> Path:
    return named.with_name(f"{named.name}-{key[:16]}")


def _served_by_prompts(origin: dict[str, Any], named: Path, trained_on: str | None) -> bool:
    """Whether the latents of a cache with embeddings are there, for a run that needs latents alone.

    Where there are both, a new run takes those alone, and one that goes on what it has had so far.

    Args:
        origin: of the cache with embeddings.
        named: what both are called, without their keys.
        trained_on: as `open_latents` takes it.
    """
    key, key_alone = fingerprint(origin), fingerprint(origin | LATENTS_ALONE)
    if trained_on != key and open_whole(_path_of(named, key_alone), logging.DEBUG) is not None:
        return False
    return open_whole(_path_of(named, key), logging.DEBUG) is not None


def _identities(source: Source, arguments: Mapping[str, Any], digests: FileDigests) -> Callable[[Record], str]:
    """What tells the pictures of one source from those of another, whatever their captions are.

    A picture is its content, whatever it is called, wherever it lies and whichever table or column names it. One that
    only its source can tell is a key of that source, with all of its settings and files.
    """
    settings = {key: value for key, value in arguments.items() if key != "prompt_column"}
    how_it_is_read = fingerprint(
        {key: value for key, value in settings.items() if key not in ("image_column", "table")}
    )
    files = [digests.digest(path) for path in getattr(source, "files", ())]
    whole_source = fingerprint({"source": settings, "files": files})

    def identify(record: Record) -> str:
        if record.path is not None:
            return f"{how_it_is_read} {digests.same_digest(record.path)}"
        if record.digest is not None:
            return f"{how_it_is_read} {record.digest()}"
        return f"{whole_source} {record.key}"

    return identify


def _missing(vae: VAE, text_encoder: TextEncoder) -> dict[str, list[str]]:
    """What is missing of the weights of encoders, by what needs none of them."""
    instead = {"encoder=pixel data.resolution=64": vae, "text_encoder=words": text_encoder}
    found = {told: missing_weights([part]) for told, part in instead.items() if isinstance(part, HasWeights)}
    return {told: files for told, files in found.items() if files}
