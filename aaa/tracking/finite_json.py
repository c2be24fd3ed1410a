"""Numbers in JSON, which knows no NaN and no infinity: those are written as texts, and made numbers again when read."""

import json
import math
import sys
from typing import Any

NOT_FINITE = {str(number): number for number in (math.nan, math.inf, -math.inf)}


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every program reads, numbers that are not finite as `"nan"`, `"inf"` and `"-inf"`."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def from_json(text: str) -> Any:
    """What `to_json` made this text of; `NaN` and the like, as earlier versions wrote them, are read too.

    Args:
        text: of one value.

    Raises:
        ValueError: if it is no JSON.
    """
    return _with_numbers(json.loads(text, object_pairs_hook=_read_object))


def as_number(value: Any) -> Any:
    """The number that `to_json` wrote as a text; anything else as it is."""
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are each in memory once: rows of metrics would be three times as large."""
    return {sys.intern(key): _with_numbers(value) for key, value in pairs}


def _with_numbers(value: Any) -> Any:
    """With the numbers that stand as texts in it; objects within have had theirs by now."""
    return [_with_numbers(inner) for inner in value] if isinstance(value, list) else as_number(value)
