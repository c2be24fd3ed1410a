"""What lies in a data folder and is no record: counted by reason, and said once."""

import logging
from dataclasses import dataclass, field

from aaa.data.endings import shown

logger = logging.getLogger(__name__)

FIRST_NAMES = 3


@dataclass
class _Counted:
    count: int = 0
    names: list[str] = field(default_factory=list)


class LeftOut:
    """Counts of what is left out.

    Args:
        where: the folder, for the message.
    """

    def __init__(self, where: object) -> None:
        self.where = where
        self._data: dict[str, _Counted] = {}
        self._no_data: dict[str, _Counted] = {}

    def add(self, reason: str, name: str) -> None:
        """Count something that somebody may have meant as data.

        Args:
            reason: a plural that a count follows: `pictures without a caption`.
            name: of the file.
        """
        _count(self._data, reason, name)

    def add_no_data(self, reason: str, name: str) -> None:
        """Count something that nobody meant as data: it is told, but is nothing to warn of."""
        _count(self._no_data, reason, name)

    def __str__(self) -> str:
        counted = [*self._data.items(), *self._no_data.items()]
        return "; ".join(f"{reason}: {entry.count} ({_names(entry)})" for reason, entry in counted)

    def tell(self) -> None:
        """Say what was left out, if anything was: one warning, or one line of information if none of it is data."""
        if self._data:
            logger.warning("Left out of %s: %s.", self.where, self)
        elif self._no_data:
            logger.info("No data in %s: %s.", self.where, self)


def _count(counted: dict[str, _Counted], reason: str, name: str) -> None:
    entry = counted.setdefault(reason, _Counted())
    entry.count += 1
    if len(entry.names) < FIRST_NAMES:
        entry.names.append(shown(name))


def _names(entry: _Counted) -> str:
    more = ", ..." if entry.count > len(entry.names) else ""
    return ", ".join(entry.names) + more
