"""What runs are called where there is little room: by what differs, or by what is left of their names."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aaa.reports.key_names import short_names, shown_key
from aaa.reports.runs import Run
from aaa.reports.telling import differing_keys, setting_keys

FEW = 3  # of what is left out, and of values that say the same


def description(run: Run, keys: Sequence[str], names: Mapping[str, str]) -> str:
    """What the settings of these keys are: `depth=4 learning_rate=0.001`.

    Args:
        run: that has them.
        keys: of its config, or groups.
        names: by the shown key, what is written for it.
    """
    return " ".join(f"{names[shown_key(key)]}={_say(run, key)}" for key in keys)


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """By the name of each run what it is that the others are not: settings, seed, and its name if these are not all."""
    differing = differing_keys(runs)
    keys = setting_keys(runs)
    keys += [key for key in differing if key == "seed"]
    names = short_names([*differing, *keys])
    said = {run.name: description(run, keys, names) for run in runs}
    count = Counter(said.values())
    return {
        name: told if told and count[told] == 1 else f"{told} ({name})" if told else name for name, told in said.items()
    }


def few(texts: Sequence[str], most: int = FEW) -> str:
    """These texts, or the first of them and how many more there are."""
    more = len(texts) - most
    return ", ".join([*texts[:most], *([f"{more} more"] if more > 0 else [])])


def common_beginning(names: Sequence[str]) -> str:
    """What all names begin with, up to where a folder or a word of them ends; "" of a single name."""
    beginning = os.path.commonprefix(names) if len(names) > 1 else ""  # noqa: RUF071 - of words too
    return beginning[: max(beginning.rfind("/"), beginning.rfind("_")) + 1]


def named_setting(run: Run, key: str) -> Any:
    """The value that a setting is named by; None of a number of steps that a run chose to fill its time."""
    return None if run.chosen(key) is None else run.counts_as.get(key, run.setting(key))


def _say(run: Run, key: str) -> str:
    value = named_setting(run, key)
    return f"{value:g}" if isinstance(value, float) else str(value)
