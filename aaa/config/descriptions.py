"""What the schemas say of their keys, for `--help` and docs/config.md."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields

from omegaconf import MISSING

WIDTH = 118
COLUMN = 28  # where descriptions begin
CALLED = "; called `model` on the command line"


def descriptions(schema: type) -> dict[str, str]:
    """What the docstring of a schema says of its keys."""
    _, _, listed = (schema.__doc__ or "").partition("Attributes:\n")
    return dict(re.findall(r"^ +(\w+): (.*)\.$", listed, re.M))


def shown_value(value: object) -> str:
    """A default as it is typed: `null`, `true`, `3`."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def has_default(f: "Field[object]") -> bool:
    """Whether a schema says what a key is where nobody does."""
    return f.default is not NO_DEFAULT and f.default != MISSING


def described_keys(schema: type, prefix: str = "") -> str:
    """A line for each key of a schema: `key=default`, and what it is; keys without a default as `key=...`."""
    return "\n".join(_lines(schema, prefix))


def _lines(schema: type, prefix: str) -> Iterator[str]:
    said = descriptions(schema)
    for f in fields(schema):
        name = "model" if f.name == "saved_model" else f"{prefix}{f.name}"
        shown = shown_value(f.default) if has_default(f) else "..."
        told = said.get(f.name, "").replace(CALLED, "")
        first = f"  {name}={shown}".ljust(COLUMN - 1) + " "
        yield textwrap.fill(told, WIDTH, initial_indent=first, subsequent_indent=" " * COLUMN)
