"""Which options of a group have a key, whether they are chosen or not."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import yaml

from aaa.config.leaves import leaves
from aaa.config.schema import SCHEMAS

# What Hydra reads.
SKIPPED = ("defaults", "_target_", "hydra")


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
