"""What the choice of one config group brings with it: an encoder its noise scheduler, a data set its encoder."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import yaml

from aaa.config.groups import CONF


def brought_along(choices: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, str]:
    """Groups that are not what conf/run.yaml has, though nobody has chosen them, and the options that they have.

    Args:
        choices: of every group, as Hydra composed them.
        overrides: of the command or of one job of a sweep.
    """
    chosen = {override.lstrip("+").partition("=")[0] for override in overrides}
    usual = _usual()
    return {
        group: str(option)
        for group, option in choices.items()
        if group in usual and group not in chosen and option not in usual[group]
    }


def describe(brought: Mapping[str, str]) -> str:
    """`scheduler=flux2, optimizer=adamw`."""
    return ", ".join(f"{group}={option}" for group, option in brought.items())


@cache
def _usual() -> dict[str, list[str]]:
    """The default option of each group in conf/run.yaml, and that which a default of another group makes of it."""
    usual = {group: [option] for group, option in _defaults("run").items()}
    for group, (option,) in list(usual.items()):
        for place, other in _defaults(f"{group}/{option}").items():
            if match := re.fullmatch(r"override /(\w+)@.*", place):
                usual[match[1]].append(other)
    return usual


def _defaults(config: str) -> dict[str, str]:
    content = yaml.safe_load((CONF / f"{config}.yaml").read_text(encoding="utf-8")) or {}  # of nothing but comments
    entries = content.get("defaults", [])
    return {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}
