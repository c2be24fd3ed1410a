"""What stands in the cells of tables in the terminal."""

from rich.text import Text

from aaa.tracking.printed import one_line


def cell(value: object) -> Text:
    """A value as a table shows it: names that others gave are no markup, and move no cursor."""
    if value is None:
        return Text("-")
    return Text(f"{value:.4g}" if isinstance(value, float) else one_line(str(value)))
