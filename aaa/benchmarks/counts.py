"""Which numbers an argument of a benchmark may be: said by its annotation, checked before anything is measured."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Annotated, Any, get_args, get_origin

from aaa.config.ranges import Range
from aaa.errors import UserError

AUTO = "auto"
Count = Annotated[int, Range(least=1)]
CountOrAuto = Annotated[int | str, Range(least=1)]
LargeCount = Annotated[float, Range(least=1)]  # of which nobody writes all the zeros
Amount = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(above=0, most=1)]
WORDS: dict[Any, str] = {
    Count: "a whole number of at least 1",
    CountOrAuto: f"{AUTO} or a whole number of at least 1",
    LargeCount: "a number of at least 1",
    Amount: "a number above 0",
    Share: "a number above 0 and at most 1",
}


def require_counts(target: type, given: Mapping[str, Any], key: str) -> None:
    """Refuse counts below 1, amounts that are not above 0, and lists of them with none in it.

    Args:
        target: class whose annotations say which of its arguments are such numbers.
        given: its arguments; those that have a `_target_` are looked at in turn.
        key: of the config, that they are under.

    Raises:
        UserError: naming the key and its value.
    """
    for name, parameter in signature(target).parameters.items():
        kind, value = parameter.annotation, given.get(name)
        if value is None:
            continue
        if isinstance(value, Mapping) and "_target_" in value and isinstance(kind, type):
            require_counts(kind, value, f"{key}.{name}")
        elif kind in WORDS and not _holds(kind, value):
            raise UserError(f"{key}.{name}={value}: must be {WORDS[kind]}.")
        elif get_origin(kind) is Sequence and (of_each := get_args(kind)[0]) in WORDS:
            listed = value if isinstance(value, list) else []
            if not listed or not all(_holds(of_each, one) for one in listed):
                shown = str(value).replace(" ", "")
                raise UserError(f"{key}.{name}={shown}: must be a list with one at least, each {WORDS[of_each]}.")


def _holds(kind: Any, value: Any) -> bool:
    number, allowed = get_args(kind)
    if isinstance(value, str):
        return kind == CountOrAuto and value == AUTO
    whole = isinstance(value, int) and not isinstance(value, bool)
    return (whole or (number is float and isinstance(value, float))) and bool(allowed.holds(value))
