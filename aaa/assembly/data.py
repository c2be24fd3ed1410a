"""From a composed config to what is trained on: the latent cache, split, with its validation table."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from aaa.assembly.build import build
from aaa.assembly.encoded import WHERE, digests_in, is_encoded, make_ready, open_encoded
from aaa.assembly.few_records import FewRecords
from aaa.assembly.keep import KEEP, NO_PART, choice_in, choice_in_encoded, choose_of_parts, keep_of
from aaa.assembly.live_prompts import build_prompt_embedder
from aaa.assembly.own_encoders import require_latents, require_prompt_embeds
from aaa.assembly.parts import build_encoders, missing_weights
from aaa.assembly.same_latents import LATENTS_ALONE
from aaa.assembly.taken_statistics import taken_statistics
from aaa.assembly.training_data import TrainingData
from aaa.config.as_dict import as_dict
from aaa.config.live_prompts import KEY, embeds_while_training
from aaa.config.mixture import config_of_part, parts_of, weights_of
from aaa.config.trust import names_ours
from aaa.data.add_prompts import add_prompts
from aaa.data.buckets import bucket_sizes, nearest_bucket, square
from aaa.data.build_cache import CacheBuilder, open_whole
from aaa.data.cache import LatentCache, earlier_cache
from aaa.data.chosen_records import Choice, choose, digest_of, in_cache
from aaa.data.code_fingerprint import code_fingerprint
from aaa.data.encoding import Fit, Pictures, batch_that_fits
from aaa.data.file_digests import FileDigests
from aaa.data.fingerprint import fingerprint, records_fingerprint
from aaa.data.live_prompts import LiveCache, LiveMixedCache, LivePrompts
from aaa.data.mixed_cache import MixedCache, fingerprint_within
from aaa.data.mixed_split import in_turn, naming_part, split_cache, split_mixture
from aaa.data.records import Record, Source
from aaa.encoders.prompt_lengths import lengths_alone
from aaa.encoders.prompt_probe import probe
from aaa.encoders.protocols import VAE, HasWeights, NormalisesLatents, TextEncoder
from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError, require_methods
from aaa.evaluation.mixed_validation import mixed_table
from aaa.evaluation.source_pictures import EncodedSource, SourcePictures
from aaa.evaluation.validation import validation_table
from aaa.saved.models import saved_statistics

logger = logging.getLogger(__name__)

STORAGE_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PLACES = ("root", "path", "dataset_id")  # arguments of our sources that say where data lies, which does not matter
OF_DIFFUSERS = "aaa.encoders.diffusers_vae.DiffusersVAE"
FEW = 10  # held-out pictures, of which a mean says little


class Share(NamedTuple):
    """What one of several processes encodes.

    Attributes:
        first: the part that it takes if it can, from 0.
        parts: that the records are divided into.
    """

    first: int = 0
    parts: int = 1


ALL = Share()


def open_data(
    config: DictConfig,
    device: str = "cpu",
    *,
    trained_on: str | None = None,
    weights: Path | None = None,
    share: Share = ALL,
    statistics_of: Callable[[Path], LatentStatistics | None] = saved_statistics,
) -> TrainingData:
    """Open what a run is trained on, encoding it first where that was not done yet.

    Args:
        config: of a run.
        device: to encode and decode on.
        trained_on: fingerprint of the cache that the run was trained on so far, as in `open_latents`.
        weights: that are trained on: a run, checkpoint, model/ folder or file. Latents are normalised as these have
            learned them.
        share: what this process encodes.
        statistics_of: reads those of the weights.

    Raises:
        UserError: naming at once everything that is missing.
    """
    cache, vae, sources, choices = _open_cache(config, device, trained_on, share)
    source_pictures = SourcePictures(sources)
    if weights is not None and isinstance(vae, NormalisesLatents):
        taken = taken_statistics(statistics_of(weights), cache.statistics, vae.latent_channels, weights)
        if taken is not None:
            cache.statistics = vae.statistics = taken
    prompt_probe = None
    if isinstance(cache, LivePrompts):
        embedder = build_prompt_embedder(config, cache.folder.empty_prompt_embeds.dtype, device)
        cache.embed_with(embedder, embedder.empty)
        prompt_probe = probe(embedder)
    if config.trainer.trim_prompts:
        cache.trim_prompts()
    rows = config.validation.num_records, config.validation.timesteps_per_record
    if not isinstance(cache, MixedCache):
        train_records, held_out = split_cache(cache, config.data.validation_fraction)
        chosen_from = kept_digest = None
        if choices:
            chosen_from = train_records
            train_records = choose(train_records, choices[NO_PART], KEEP)
            kept_digest = digest_of([train_records])
        _warn_of_few(len(train_records), len(held_out), config.trainer.batch_size)
        table = validation_table(cache, held_out, *rows)
        return TrainingData(
            cache, vae, train_records, held_out, table, source_pictures, chosen_from, kept_digest, prompt_probe
        )
    fractions = {name: part.validation_fraction for name, part in parts_of(config.data).items()}
    mixed = split_mixture(cache, weights_of(config.data), fractions)
    of_all = kept_digest = None
    if choices:
        of_all = mixed
        mixed = choose_of_parts(mixed, choices, cache.spans)
        kept_digest = digest_of([part.train for part in mixed.parts])
    held_out = in_turn([part.held_out for part in mixed.parts])
    _warn_of_few(len(mixed), len(held_out), config.trainer.batch_size)
    table = mixed_table(cache, mixed.parts, *rows)
    return TrainingData(cache, vae, mixed, held_out, table, source_pictures, of_all, kept_digest, prompt_probe)


def _warn_of_few(trained_on: int, held_out: int, batch_size: int | str) -> None:
    """Say where records are so few that what is trained or measured means little.

    Args:
        trained_on, held_out: how many there are.
        batch_size: of a step, or `auto`.
    """
    if isinstance(batch_size, int) and trained_on < batch_size:
        logger.warning(
            "There are %d pictures to train on, fewer than trainer.batch_size=%d: each step takes some several times.",
            trained_on,
            batch_size,
        )
    if 0 < held_out < FEW:
        logger.warning(
            "val/loss is of %d held-out pictures, too few to tell runs apart; data.validation_fraction=N has more.",
            held_out,
        )


def _open_cache(
    config: DictConfig, device: str, trained_on: str | None, share: Share
) -> tuple[LatentCache, VAE, list[EncodedSource], dict[str, Choice]]:
    """The cache, what decodes its latents, what it was made from, as far as that is here, and what `data.keep` says of
    its records: `NO_PART`, or by the names of parts; nothing where it is not said.
    """
    names = [*parts_of(config.data)]
    if is_encoded(config.data):
        cache, vae = open_encoded(config, device)
        choice = choice_in_encoded(keep_of(config.data), cache)
        return cache, vae, [], {} if choice is None else {NO_PART: choice}
    if not names:
        cache, vae, source, fit, choice = open_latents(config, device, trained_on, share)
        # Opened anew where it is asked for: tables of many records are not held for a run that never does.
        open_again = partial(_build_source, config, {})
        sources = [EncodedSource(open_again, cache.records, range(len(cache)), fit)]
        return cache, vae, sources, {} if choice is None else {NO_PART: in_cache(choice, source, cache.records)}
    opened = []
    for name in names:
        with naming_part(name):
            part = config_of_part(config, name)
            opened.append(_open_cache(part, device, fingerprint_within(trained_on, name), share))
    parts = {name: part for name, (part, *_) in zip(names, opened, strict=True)}
    mixed = (LiveMixedCache if embeds_while_training(config) else MixedCache)(parts)
    vae = opened[0][1]
    make_ready(vae, mixed, device)
    of_parts = zip(mixed.spans.values(), opened, strict=True)
    sources = [replace(source, span=span) for span, (_, _, found, _) in of_parts for source in found]
    choices = {name: found[NO_PART] for name, (*_, found) in zip(names, opened, strict=True) if found}
    return mixed, vae, sources, choices


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
    source = _build_source(config, _missing(vae, text_encoder))
    choice = choice_in(keep_of(data), source)  # now: what is wrong with it is told before any of these is encoded
    digests = digests_in(Path(data.cache_dir))
    source_arguments = as_dict(data.source)
    if _is_ours(data.source):  # of one's own an argument of that name may mean anything
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
        if not _is_ours(encoder.vae):
            require_latents(vae, *fit(data.resolution, data.resolution))
        if not _is_ours(encoder.text_encoder):
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


def _build_source(config: DictConfig, missing: Mapping[str, list[str]]) -> Source:
    problems = []
    source = None
    try:
        source = build(config, "data.source")
    except UserError as error:
        problems.append(str(error))
    if missing:
        listed = "\n  ".join(file for files in missing.values() for file in files)
        problems.append(
            f"The weights of encoder={config.encoder.name} are missing (and no latents are cached):\n  {listed}\n"
            f"  Or train without them: {' '.join(missing)}"
        )
    if source is None or problems:
        raise UserError("\n".join(problems))
    if not _is_ours(config.data.source):
        _require_records(source)
    most = config.data.get("max_records")  # earlier versions' runs do not say
    if most is None or most >= len(source):
        return source
    logger.info("Of %d records %d are taken, spread evenly: data.max_records=%d", len(source), most, most)
    return FewRecords(source, most)


def _is_ours(part: DictConfig) -> bool:
    """Whether it names a class of ours, of which it is known what its arguments mean and what it gives."""
    return names_ours(part._target_)


def _require_records(source: Source) -> None:
    """Refuse a class of one's own that is no data set."""
    require_methods(source, ("__len__", "__getitem__"), "data.source", "encoding asks of a data set")
    if len(source) and not isinstance(first := source[0], Record):
        raise UserError(
            f"data.source: {type(source).__name__}.__getitem__ gives a {type(first).__name__}, and has to give a "
            "Record (docs/extending.md)."
        )
