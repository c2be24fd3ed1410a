"""The one kind of error that says: what you gave us does not work, and here is what to do."""

import difflib
import re
from collections.abc import Iterable


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
    if missing := [name for name in names if not callable(getattr(part, name, None))]:
        raise UserError(
            f"{key}: {type(part).__name__} has no {' and no '.join(missing)}, which {asked} (docs/extending.md)."
        )


def nearest(word: str, words: list[str]) -> str:
    """` (did you mean 'x'?)` for the word that is most alike, comparing last parts when whole keys are not."""
    matches = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    if not matches:
        last: dict[str, str] = {}
        for name in sorted(words, key=lambda name: name.count(".")):
            last.setdefault(name.rpartition(".")[2], name)
        matches = [last[m] for m in difflib.get_close_matches(word.rpartition(".")[2], list(last), n=1, cutoff=0.7)]
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def in_plain_words(text: str, key: str) -> str:
    """What a value has to be, from what OmegaConf says of a conversion that failed."""
    reason = text.splitlines()[0].replace("$FULL_KEY", key)
    if re.search(r"could not be converted to Integer|to an int", reason):
        match = re.match(r"Value '([-+.\de]+)' of type 'float'", reason)
        is_whole = match is not None and float(match[1]).is_integer()
        return "must be a whole number" + (f": {int(float(match[1]))}." if match and is_whole else ", such as 1000.")
    if "could not be converted to Float" in reason:
        return "must be a number, such as 0.5 or 1e-3."
    if "is not a valid bool" in reason:
        return "must be true or false."
    if re.search(r"is not Optional|Incompatible value 'None'", reason):
        return "must have a value."
    return reason
