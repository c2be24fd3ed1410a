"""The one kind of error that says: what you gave us does not work, and here is what to do."""


class UserError(Exception):
    """Bad input. Its message names the file, line or config key, what was wrong and what to do."""
