"""The one kind of error that says: what you gave us does not work, and here is what to do."""

import difflib


class UserError(Exception):
    """Bad input. Its message names the file, line or config key, what was wrong and what to do."""


def reason(error: Exception) -> str:
    """What an error of a library says, in the part of its first line that is not about the library."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.removeprefix("Error while serializing: ").removeprefix("I/O error: ")


def nearest(word: str, words: list[str]) -> str:
    """` (did you mean 'x'?)` for the word that is most alike, comparing last parts when whole keys are not."""
    matches = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    if not matches:
        last = {name.rpartition(".")[2]: name for name in reversed(words)}
        matches = [last[m] for m in difflib.get_close_matches(word.rpartition(".")[2], list(last), n=1, cutoff=0.7)]
    return f" (did you mean '{matches[0]}'?)" if matches else ""
