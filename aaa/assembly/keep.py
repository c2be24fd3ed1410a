"""`data.keep`: which records are trained on, by a condition on their columns or sizes."""

from collections.abc import Mapping
from dataclasses import replace

from omegaconf import DictConfig

from aaa.assembly.few_records import FewRecords
from aaa.config.condition import Condition
from aaa.data.cache import LatentCache
from aaa.data.chosen_records import Choice, choice_by_prompt, choice_of, choose
from aaa.data.column_values import column_values
from aaa.data.mixed_order import MixedRecords
from aaa.data.records import Source

KEEP = "data.keep"
NO_PART = ""  # the name of data that is no part of a mixture


def keep_of(data: DictConfig) -> str | None:
    """The condition of some data; None also of a part of a mixture that is not trained on, where none is used."""
    keep: str | None = data.get("keep")
    return None if data.get("weight") == 0 else keep


def choice_in(keep: str | None, source: Source) -> Choice | None:
    """What a condition says of each record of a source; None where there is no condition.

    Raises:
        UserError: as `choice_of` does.
    """
    if keep is None:
        return None
    condition = Condition(keep, KEEP)
    whole = source.source if isinstance(source, FewRecords) else source
    places = [source.place(index) if isinstance(source, FewRecords) else index for index in range(len(source))]
    return choice_of(condition, whole, column_values(whole, condition.names), places)


def choice_in_encoded(keep: str | None, cache: LatentCache) -> Choice | None:
    """The same of a cache whose data set is not here.

    Raises:
        UserError: as `choice_by_prompt` does.
    """
    return None if keep is None else choice_by_prompt(Condition(keep, KEEP), cache.records)


def choose_of_parts(mixed: MixedRecords, choices: Mapping[str, Choice], spans: Mapping[str, range]) -> MixedRecords:
    """The records to train on of a mixture, of each part that has a condition those that it chooses.

    Args:
        mixed: of all parts.
        choices: of the records of some.
        spans: indices of each part's records.

    Raises:
        UserError: if none are left of one.
    """
    parts = []
    for part in mixed.parts:
        if part.name in choices:
            key = f"data.parts.{part.name}.keep"
            part = replace(part, train=choose(part.train, choices[part.name], key, spans[part.name].start))
        parts.append(part)
    return MixedRecords(parts)
