"""What the schemas say of their keys, for `--help` and docs/config.md."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields

from omegaconf import MISSING

WIDTH = 118
COLUMN = 28  # where descriptions begin
CALLED = "; called `model` on the command line"


def descriptions(schema: type) -> dict[str, str]:
    """What the docstring of a schema says of its keys."""
    _, _, listed = (schema.__doc__ or "").partition("Attributes:\n")
    return dict(re.findall(r"^ +(\w+): (.*)\.$", listed, re.M))


def described_keys(schema: type, prefix: str = "") -> str:
    """A line for each key of a schema: `key=default`, and what it is; keys without a default as `key=...`."""
    return "\n".join(_lines(schema, prefix))


def _lines(schema: type, prefix: str) -> Iterator[str]:
    said = descriptions(schema)
    for f in fields(schema):
        name = "model" if f.name == "saved_model" else f"{prefix}{f.name}"
        default = "..." if f.default in (NO_DEFAULT, MISSING) else "null" if f.default is None else f.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        told = said.get(f.name, "").replace(CALLED, "")
        first = f"  {name}={shown}".ljust(COLUMN - 1) + " "
        yield textwrap.fill(told, WIDTH, initial_indent=first, subsequent_indent=" " * COLUMN)
