"""Validation tables of different names that have the same rows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from aaa.reports.runs import Run
from aaa.tracking.validation_rows import ValidationRows


def last_validations(runs: Sequence[Run]) -> dict[str, ValidationRows]:
    """The last validation of each run that has one, by the run's name; tables with the same rows have one digest.

    An update of aaa that may encode otherwise gives a table another digest, and another device may encode a bit
    differently: where either is the same, the other may differ.
    """
    found = {run.name: run.validation for run in runs if run.validation is not None}
    shared = shared_digests(found.values())
    return {name: replace(rows, table=shared[rows.table]) for name, rows in found.items()}


def shared_digests(found: Iterable[ValidationRows]) -> dict[str, str]:
    """By the digest of a table, one that all tables with the same rows share."""
    shared: dict[str, str] = {}
    by_content: dict[str, str] = {}
    for rows in found:
        own = shared.setdefault(rows.table, rows.table)
        known = own if rows.content is None else by_content.setdefault(rows.content, own)
        if known != own:  # what was taken for two tables is one
            for names in (shared, by_content):
                names.update({key: known for key, name in names.items() if name == own})
    return shared
