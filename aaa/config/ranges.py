"""Which numbers and words a key of the schema may have: said on its field, checked in one loop, printed in the docs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from aaa.errors import UserError

RANGE = "range"  # of a field's metadata
TOO_LARGE = 2**62  # for a whole number of anything that is counted in 64 bits
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Range:
    """What a key may be.

    Attributes:
        least, most: bounds that a number may reach.
        above, below: bounds that it may not.
        words: all that a text may be.
        switch: may be true or false as well.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    words: tuple[str, ...] = ()
    switch: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a key may have this value; only numbers have bounds."""
        if self.words:
            return value in self.words or (self.switch and isinstance(value, bool))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.words:
            among = self.words[0] if len(self.words) == 1 else f"one of {', '.join(self.words)}"
            return f"false, true or {among}" if self.switch else among
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{words} {bound}" for words, bound in bounds if bound not in (None, TOO_LARGE))


def number(
    default: Any = MISSING,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A field whose number has bounds; whole numbers without an upper one stay below 2^62."""
    return field(default=default, metadata={RANGE: Range(least, most, above, below)})


def count(default: Any = MISSING, *, least: int = 0) -> Any:
    """A field that holds how many of something."""
    return number(default, least=least, below=TOO_LARGE)


def share(default: Any = MISSING) -> Any:
    """A field that holds a part of a whole, never all of it."""
    return number(default, least=0, below=1)


def one_of(*words: str, default: str | None = MISSING) -> Any:
    """A field that holds one of these words."""
    return field(default=default, metadata={RANGE: Range(words=words)})


def switch_or(*words: str, default: bool | str = False) -> Any:
    """A field that is off, on, or one of these words; off by default."""
    return field(default=default, metadata={RANGE: Range(words=words, switch=True)})


def ranges_of(schema: type) -> dict[str, Range]:
    """The ranges of a schema's keys that have any."""
    return {f.name: f.metadata[RANGE] for f in fields(schema) if RANGE in f.metadata}


def require_ranges(schema: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse what is outside its range.

    Args:
        schema: says the ranges.
        values: of some of its keys; None is whatever the default is.
        prefix: before the keys in the message, such as `trainer.`.

    Raises:
        UserError: naming the key, its value and its range.
    """
    allowed = ranges_of(schema)
    for name in (key for key in allowed if key in values):
        value = values[name]
        if value is not None and not allowed[name].holds(value):
            too_large = " and below 2^62" if allowed[name].below == TOO_LARGE and value >= TOO_LARGE else ""
            raise UserError(f"{prefix}{name}={value}: must be {allowed[name]}{too_large}.")
