"""Config keys as people say them."""

from collections import Counter
from collections.abc import Iterable


def shown_key(key: str) -> str:
    """The key of what a class or function is chosen by: `scheduler` of `scheduler._target_`."""
    return key.removesuffix("._target_")


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """By each shown key the shortest of its ends that no other of them has: `depth`, but `first.weight`."""
    whole = list(dict.fromkeys(map(shown_key, keys)))
    owners = Counter(end for key in whole for end in _ends(key))
    return {key: next((end for end in _ends(key) if owners[end] == 1), key) for key in whole}


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]
