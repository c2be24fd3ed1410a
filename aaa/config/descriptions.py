"""What the schemas say of their keys, for `--help` and docs/config.md."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING

WIDTH = 118  # letters of a line at most, of a narrower terminal as many as it has
COLUMN = 28  # where descriptions begin
OPTIONS = 17  # where options of groups begin
# Names of options stay whole.
KEEP: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
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


def described_groups(groups: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Lines for each group: `group=`, and its options."""
    return "\n".join(_hanging(f"  {name}=", ", ".join(options), OPTIONS) for name, options in groups)


def described_keys(schema: type, prefix: str = "") -> str:
    """A line for each key of a schema: `key=default`, and what it is; keys without a default as `key=...`."""
    return "\n".join(_lines(schema, fields(schema), prefix))


def described_own_keys(schema: type) -> str:
    """The same of those of its keys that are in no group, and the names of the groups, which have keys of their own."""
    of_group = [f for f in fields(schema) if is_dataclass(f.type) or f.type is Any]
    own = (f for f in fields(schema) if f not in of_group)
    groups = _hanging("  GROUP.KEY=", ", ".join(f.name for f in of_group), COLUMN)
    return "\n".join([*_lines(schema, own, ""), groups])


def _lines(schema: type, shown: "Iterable[Field[object]]", prefix: str) -> Iterator[str]:
    said = descriptions(schema)
    for f in shown:
        name = "model" if f.name == "saved_model" else f"{prefix}{f.name}"
        default = shown_value(f.default) if has_default(f) else "..."
        told = said.get(f.name, "").replace(CALLED, "")
        yield _hanging(f"  {name}={default}", told, COLUMN)


def _hanging(name: str, told: str, column: int) -> str:
    """A name, and from that column on what is told of it, as wide as the terminal is."""
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    first = name.ljust(column - 1) + " "
    return textwrap.fill(told, max(width, column + 20), initial_indent=first, subsequent_indent=" " * column, **KEEP)
