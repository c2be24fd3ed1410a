"""The one kind of error that says: what you gave us does not work, and here is what to do."""


class UserError(Exception):
    """Bad input. Its message names the file, line or config key, what was wrong and what to do."""


def reason(error: Exception) -> str:
    """What an error of a library says, in the part of its first line that is not about the library."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.removeprefix("Error while serializing: ").removeprefix("I/O error: ")
