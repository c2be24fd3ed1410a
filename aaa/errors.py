"""The one kind of error that says: what you gave us does not work, and here is what to do."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from numbers import Real
from operator import ge, gt, le, lt
from typing import Any


class UserError(Exception):
    """Bad input. Its message names the file, line or config key, what was wrong and what to do."""


def reason(error: Exception) -> str:
    """What an error of a library says, in the part of its first line that is not about the library."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.removeprefix("Error while serializing: ").removeprefix("I/O error: ")


def require_methods(part: object, names: Iterable[str], key: str, asked: str) -> None:
    """Refuse a part of one's own that lacks what it will be asked.

    Args:
        part: of any class.
        names: of the methods that it has to have.
        key: of the config, that says so.
        asked: by whom: `training asks of a noise scheduler`, say.

    Raises:
        UserError: naming the methods that it has not.
    """
    if missing := [name for name in names if not _has(part, name)]:
        raise UserError(
            f"{key}: {type(part).__name__} has no {' and no '.join(missing)}, which {asked} (docs/extending.md)."
        )


def require_number(
    key: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse what is no number within these bounds.

    Args:
        key: of the config.
        value: what it says.
        least, most: bounds that a number may reach.
        above, below: bounds that it may not.

    Raises:
        UserError: naming the key and the bounds.
    """
    bounds = (("at least", least, ge), ("above", above, gt), ("at most", most, le), ("below", below, lt))
    asked = [(words, bound, holds) for words, bound, holds in bounds if bound is not None]
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not all(holds(value, bound) for _, bound, holds in asked):
        raise UserError(f"{key}={value}: must be {' and '.join(f'{words} {bound}' for words, bound, _ in asked)}.")


def require_one_of(key: str, value: object, words: Iterable[str]) -> None:
    """Refuse a word that there is not.

    Raises:
        UserError: naming the key, and those that there are.
    """
    if value not in (known := list(words)):
        raise UserError(f"{key}={value}: must be one of {', '.join(known)}.")


def _has(part: object, method: str) -> bool:
    """Whether a part has a method of its own; an `nn.Module` has a forward that only says that it is none."""
    found = getattr(part, method, None)
    return callable(found) and getattr(found, "__name__", None) != "_forward_unimplemented"


def require_call(function: Callable[..., object], given: Sequence[str], key: str) -> None:
    """Refuse a class or function of one's own that does not take what it will be given.

    Args:
        function: any.
        given: names of the arguments that it will be given by place.
        key: of the config, that names it.

    Raises:
        UserError: naming it, what it takes and what it is given.
    """
    if (wrong := wrong_call(function, given, {})) is not None:
        raise UserError(f"{key}: {wrong} (docs/extending.md).")


def wrong_call(function: Callable[..., object], by_place: Sequence[str], by_name: Mapping[str, Any]) -> str | None:
    """What is wrong with giving a function these arguments, as far as its signature tells; None if it takes them.

    Args:
        function: any.
        by_place: names of arguments, which the function may call otherwise.
        by_name: arguments by the function's own names.
    """
    try:
        taken = signature(function)
    except (TypeError, ValueError):  # it is written in C
        return None
    try:
        taken.bind(*by_place, **by_name)
    except TypeError as error:
        return f"{named(function)} takes ({_shown(taken)}), and is given {', '.join([*by_place, *by_name])}: {error}"
    return None


def named(function: Any) -> str:
    """A class, a function or a method as its code calls it."""
    bare = getattr(function, "func", function)  # of what has been given some of its arguments already
    return str(getattr(bare, "__qualname__", type(bare).__qualname__))


def _shown(taken: Signature) -> str:
    """Parameters without their types."""
    bare = [parameter.replace(annotation=Parameter.empty) for parameter in taken.parameters.values()]
    return str(Signature(bare))[1:-1]


def nearest(word: str, words: list[str]) -> str:
    """` (did you mean 'x'?)` for the word that is most alike; of keys first those beside it, by their last parts.

    Whole keys below the same one are alike in what they share, whatever they end in.
    """
    parent, _, last = word.rpartition(".")
    beside = [name for name in words if name.rpartition(".")[0] == parent]
    having = [name for name in beside if f"_{last}_" in f"_{name.rpartition('.')[2]}_"]
    found = _alike(last, beside, 0.7) or (having[0] if len(having) == 1 else "")
    if not beside:
        found = next(iter(difflib.get_close_matches(word, words, 1, 0.7)), "")
    found = found or _alike(last, words, 0.8)
    return did_you_mean(found)


def did_you_mean(name: str | None) -> str:
    """` (did you mean 'x'?)`; nothing for no name."""
    return f" (did you mean '{name}'?)" if name else ""


def _alike(last: str, keys: list[str], cutoff: float) -> str:
    """The key whose last part is most alike, of several the one with the fewest; nothing if none is."""
    ends: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        ends.setdefault(key.rpartition(".")[2], key)
    return next((ends[end] for end in difflib.get_close_matches(last, list(ends), n=1, cutoff=cutoff)), "")


def in_plain_words(text: str, key: str) -> str:
    """What a value has to be, from what OmegaConf says of a conversion that failed."""
    reason = text.splitlines()[0].replace("$FULL_KEY", key)
    match = re.match(r"Value '([-+.\de]+)' of type 'float'", reason)
    whole = int(float(match[1])) if match is not None and float(match[1]).is_integer() else None
    if re.search(r"could not be converted to Integer|to an int", reason):
        return "must be a whole number" + (", such as 1000." if whole is None else f": {whole}.")
    if "could not be converted to Float" in reason:
        return "must be a number, such as 0.5 or 1e-3."
    if "is not a valid bool" in reason:
        return "must be true or false."
    if re.search(r"is not Optional|Incompatible value 'None'", reason):
        return "must have a value."
    if "is not a ListConfig, list or tuple" in reason:
        return "must be a list, such as [0.2,0.8]."
    if one_of := re.search(r"is incompatible with type hint '(?:Optional\[)?Union\[(.+?)\]", reason):
        if "int" in one_of[1] and whole is not None:
            return f"must be a whole number: {whole}."
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "one of its words"}
        return f"must be {', or '.join(kinds.get(kind, kind) for kind in one_of[1].split(', '))}."
    return reason
