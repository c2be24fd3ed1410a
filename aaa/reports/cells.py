"""What stands in the cells of tables in the terminal."""

from collections.abc import Sequence
from math import isfinite

from rich.text import Text

from aaa.tracking.printed import one_line

APART = 3  # decimals that numbers of a column may differ by, to be written with as many


def cell(value: object) -> Text:
    """A value as a table shows it: names that others gave are no markup, and move no cursor."""
    if value is None:
        return Text("-")
    return Text(f"{value:.4g}" if isinstance(value, float) else one_line(str(value)))


def cells(values: Sequence[float | None]) -> list[Text]:
    """Those of a column of numbers, which have as many decimals each: their points are below each other."""
    decimals = decimals_of([value for value in values if isinstance(value, float)])
    return [
        Text(f"{value:.{decimals}f}") if decimals is not None and isinstance(value, float) else cell(value)
        for value in values
    ]


def decimals_of(values: Sequence[float], digits: int = 4) -> int | None:
    """Decimals with which the smallest of these numbers has so many digits; None if they are of very different size."""
    texts = [f"{value:.{digits}g}" for value in values if isfinite(value)]
    decimals = [len(text.partition(".")[2]) for text in texts]
    if not decimals or any("e" in text for text in texts) or max(decimals) - min(decimals) > APART:
        return None
    return max(decimals)
