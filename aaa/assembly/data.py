"""From a composed config to what is trained on: the latent cache, split, with its validation table."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig
from torch import Tensor

from aaa.assembly.encoded import is_encoded, make_ready, open_encoded
from aaa.assembly.keep import KEEP, NO_PART, choice_in_encoded, choose_of_parts, keep_of
from aaa.assembly.latents import ALL, Share, open_latents
from aaa.assembly.live_prompts import build_prompt_embedder
from aaa.assembly.source import build_source
from aaa.assembly.taken_statistics import taken_statistics
from aaa.assembly.training_data import Train, TrainingData
from aaa.config.live_prompts import embeds_while_training
from aaa.config.mixture import config_of_part, parts_of, weights_of
from aaa.data.cache import LatentCache
from aaa.data.chosen_records import Choice, choose, digest_of, in_cache
from aaa.data.live_prompts import LiveMixedCache, LivePrompts
from aaa.data.mixed_cache import MixedCache, fingerprint_within
from aaa.data.mixed_split import in_turn, naming_part, split_cache, split_mixture
from aaa.encoders.prompt_probe import probe
from aaa.encoders.protocols import VAE, NormalisesLatents
from aaa.encoders.statistics import LatentStatistics
from aaa.evaluation.mixed_validation import mixed_table
from aaa.evaluation.source_pictures import EncodedSource, SourcePictures
from aaa.evaluation.validation import ValidationTable, validation_table
from aaa.saved.models import saved_statistics

logger = logging.getLogger(__name__)

FEW = 10  # held-out pictures, of which a mean says little


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
    if isinstance(cache, MixedCache):
        records = _split_mixture(config, cache, choices)
    else:
        records = _split(config, cache, choices)
    _warn_of_few(len(records.train_records), len(records.held_out), config.trainer.batch_size)
    return TrainingData(
        cache=cache, vae=vae, source_pictures=source_pictures, prompt_probe=prompt_probe, **records._asdict()
    )


class _Records(NamedTuple):
    """See `TrainingData`."""

    train_records: Train
    held_out: Tensor
    table: ValidationTable | None
    chosen_from: Train | None
    kept_digest: str | None


def _split(config: DictConfig, cache: LatentCache, choices: Mapping[str, Choice]) -> _Records:
    whole, held_out = split_cache(cache, config.data.validation_fraction)
    table = validation_table(cache, held_out, *_rows(config))
    if not choices:
        return _Records(whole, held_out, table, None, None)
    chosen = choose(whole, choices[NO_PART], KEEP)
    return _Records(chosen, held_out, table, whole, digest_of([chosen]))


def _split_mixture(config: DictConfig, cache: MixedCache, choices: Mapping[str, Choice]) -> _Records:
    fractions = {name: part.validation_fraction for name, part in parts_of(config.data).items()}
    whole = split_mixture(cache, weights_of(config.data), fractions)
    held_out = in_turn([part.held_out for part in whole.parts])
    table = mixed_table(cache, whole.parts, *_rows(config))
    if not choices:
        return _Records(whole, held_out, table, None, None)
    chosen = choose_of_parts(whole, choices, cache.spans)
    return _Records(chosen, held_out, table, whole, digest_of([part.train for part in chosen.parts]))


def _rows(config: DictConfig) -> tuple[int, int]:
    """Records and noise levels of each, of a validation table."""
    return config.validation.num_records, config.validation.timesteps_per_record


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
        open_again = partial(build_source, config, {})
        sources = [EncodedSource(open_again, cache.records, range(len(cache)), fit)]
        return cache, vae, sources, {} if choice is None else {NO_PART: in_cache(choice, source, cache)}
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
