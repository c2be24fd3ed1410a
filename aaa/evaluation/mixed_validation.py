"""The validation table of several data sets that are mixed: records of each, judged together and apart."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from aaa.data.mixed_cache import MixedCache
from aaa.data.mixed_order import MixedPart
from aaa.evaluation.validation import TablePart, ValidationTable, chosen_records, latent_variance, table_of


def mixed_table(
    cache: MixedCache, parts: Sequence[MixedPart], num_records: int, timesteps_per_record: int
) -> ValidationTable | None:
    """The held-out records of all parts in one table, whatever their weights; None if no part holds any out.

    Args:
        cache: of the mixture.
        parts: of it.
        num_records: of each, at most: those that it would have alone.
        timesteps_per_record: rows of each record, as `validation_table` takes them.
    """
    chosen = {}
    for part in parts:
        if len(part.held_out):
            by = cache.spans[part.name].start
            chosen[part.name] = chosen_records(cache.parts[part.name], part.held_out - by, num_records) + by
    if not chosen:
        return None
    table = table_of(cache, torch.cat([*chosen.values()]), timesteps_per_record)
    members, start = [], 0
    for name, records in chosen.items():
        stop = start + len(records) * timesteps_per_record
        members.append(TablePart(name, slice(start, stop), latent_variance(cache, records)))
        start = stop
    return replace(table, parts=tuple(members))
