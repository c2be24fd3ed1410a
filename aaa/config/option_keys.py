"""The keys that the options of a group have beside the schema's, as the files in conf/ write them."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import yaml

from aaa.config.leaves import leaves
from aaa.config.schema import SCHEMAS

# What Hydra reads.
SKIPPED = ("defaults", "_target_", "hydra")


def option_keys(group: str, paths: Sequence[Path], known: Collection[str]) -> Iterator[str]:
    """Rows of a Markdown table: key, what each option has, comment; nothing for keys that are told of elsewhere.

    Args:
        group: that the options are of.
        paths: their YAML files.
        known: keys, in full, to leave out.
    """
    values: dict[str, dict[str, list[str]]] = {}
    comments: dict[str, str] = {}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)  # None where a file only has a comment
        for key, value, comment in _leaves(root, _prefix(text, group)) if root else ():
            if key not in known and not _handed_on(key, value):
                values.setdefault(key, {}).setdefault(value, []).append(path.stem)
                comments[key] = comments.get(key) or _comment(text, comment)
    for key, by_value in values.items():
        shipped = ", ".join(f"`{value}` ({', '.join(options)})" for value, options in by_value.items())
        yield f"| `{key}` | {shipped} | {comments[key]} |".replace("||", "\\|\\|")


def options_with(group: str, key: str, options: Iterable[str], folders: Sequence[Path]) -> list[str]:
    """Those of a group's options that have a key, which is told without the group."""
    return [option for option in options if key in _keys_of(group, option, folders)]


def _keys_of(group: str, option: str, folders: Sequence[Path]) -> set[str]:
    """All keys of an option, its schema's and those of the options that it extends among them."""
    path = next((path for folder in folders if (path := folder / group / f"{option}.yaml").is_file()), None)
    if path is None:
        return set()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # an option that is not chosen: what is wrong with it is no matter
        return set()
    if not isinstance(content, dict):
        return set()
    keys = {key for key, _ in leaves(content)} | set(content)
    for name in filter(lambda entry: isinstance(entry, str), content.get("defaults") or []):
        schema = re.fullmatch(r"/schema_(\w+)@_here_", name)
        if schema is not None and schema[1] in SCHEMAS:
            keys |= {f.name for f in fields(SCHEMAS[schema[1]])}
        elif schema is None and name not in ("_self_", option):
            keys |= _keys_of(group, name, folders)
    return keys.difference(SKIPPED)


def _handed_on(key: str, value: str) -> bool:
    """Whether it is what another key says, for a part of a part."""
    return value.startswith("${") and key.count(".") > 1


def _prefix(text: str, group: str) -> str:
    first = text.partition("\n")[0]
    package = first.removeprefix("# @package ") if first.startswith("# @package ") else group
    return "" if package == "_global_" else f"{package}."


def _leaves(node: yaml.Node, prefix: str) -> Iterator[tuple[str, str, yaml.Mark]]:
    """Each key with its value as it is written, and where the line goes on behind it."""
    for name, value in node.value:
        if name.value in SKIPPED:
            continue
        if isinstance(value, yaml.MappingNode):
            yield from _leaves(value, f"{prefix}{name.value}.")
        elif isinstance(value, yaml.SequenceNode) and not value.flow_style:
            yield f"{prefix}{name.value}", f"{len(value.value)} of them", name.end_mark
        else:
            yield f"{prefix}{name.value}", _written(value), value.end_mark


def _written(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_written(item) for item in node.value)}]"
    return f'"{node.value}"' if node.style == '"' else node.value


def _comment(text: str, mark: yaml.Mark) -> str:
    _, _, said = text.splitlines()[mark.line][mark.column :].partition("# ")
    return said.strip()
