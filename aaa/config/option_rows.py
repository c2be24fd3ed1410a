"""The keys that options of a group have beside the schema's, as conf/ writes them, for docs/config.md."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import yaml

from aaa.config.option_keys import SKIPPED


def option_rows(group: str, paths: Sequence[Path], known: Collection[str]) -> Iterator[str]:
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
