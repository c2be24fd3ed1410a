"""What a build found out about pictures that were read: each thing said once, with how many and which."""

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)

LISTED = 3


class Findings:
    """Collects what is known of records."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, None]] = {}

    def note(self, things: Iterable[str], key: str) -> None:
        """Keep that the picture of the record with this key has these things."""
        for thing in things:
            self._keys.setdefault(thing, {})[key] = None

    def warn(self, total: int) -> None:
        """Log each thing once; `total` is the number of records."""
        for thing, keys in self._keys.items():
            first = ", ".join(list(keys)[:LISTED])
            logger.warning("Of %d records the pictures of %d have %s, e.g. %s", total, len(keys), thing, first)
