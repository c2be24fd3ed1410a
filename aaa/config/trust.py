"""Configs that others may have written: read without running anything, and asked which code they want to run."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config.groups import CONF
from aaa.errors import UserError, reason

MAX_BYTES, MAX_DEPTH = 64 * 2**20, 100
OWN_CLASS = re.compile(r"(aaa\.(?:encoders|diffusion|models|objectives)\.\w+)\.(\w+)")


def read_yaml_config(path: Path) -> DictConfig:
    """A YAML file as a config.

    Raises:
        UserError: if it is damaged, no mapping, of absurd size, or uses anchors, with which a few lines can stand for
            billions of values.
    """
    try:
        text = _read(path)
        _refuse_blown_up(text, path)
        config = OmegaConf.create(text)
    # OmegaConf asserts what it expects of a text.
    except (OSError, ValueError, yaml.YAMLError, RecursionError, OmegaConfBaseException, AssertionError) as error:
        raise UserError(f"{path}: not a config in YAML ({reason(error)}).") from None
    if not isinstance(config, DictConfig):
        raise UserError(f"{path}: not a config, which has keys and values.")
    return config


def read_json_config(path: Path) -> dict[str, Any]:
    """A JSON file with an object in it.

    Raises:
        UserError: if it is anything else.
    """
    try:
        content = json.loads(_read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({reason(error)}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object.")
    return content


def targets(config: Any) -> Iterator[str]:
    """All that a config wants to run: values of `_target_`, wherever they are."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from targets(value)


def is_own_class(target: str) -> bool:
    """Whether it names a class that one of our modules defines, rather than one it merely imports."""
    match = OWN_CLASS.fullmatch(target)
    if match is None:
        return False
    try:
        found = getattr(importlib.import_module(match[1]), match[2], None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__ == match[1]


def names_ours(target: object) -> bool:
    """Whether a `_target_` lies in our package, told by its name alone: nothing is imported."""
    return str(target).startswith("aaa.")


def foreign_targets(config: Any) -> list[str]:
    """What a config wants to run that neither our own conf/ names nor our own modules define."""
    own = (path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    known = {target for text in own for target in re.findall(r"_target_:\s*([\w.]+)", text)}
    wanted = targets(OmegaConf.to_container(config, resolve=False) if isinstance(config, DictConfig) else config)
    return [target for target in wanted if target not in known and not is_own_class(target)]


def refuse_foreign_code(config: DictConfig, asked: str) -> None:
    """A run's config runs what its `_target_`s name; one that came from elsewhere may name anything.

    Args:
        config: of the run.
        asked: the argument that names the run.

    Raises:
        UserError: naming what it wants to run.
    """
    if foreign := foreign_targets(config):
        raise UserError(
            f"{asked}: its config wants to run {foreign[0]!r}, which conf/ does not name. If the run is yours, or you "
            "know where it comes from: trust_config=true"
        )


def _refuse_blown_up(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{path}: uses YAML anchors, which no config of a run does.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UserError(f"{path}: not a config in YAML (more than {MAX_DEPTH} values within each other).")


def _read(path: Path) -> str:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes, more than any config has.")
    return path.read_text(encoding="utf-8")
