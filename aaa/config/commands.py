"""Commands of ours, as they are shown to people: they can be pasted as they stand."""

import os
from collections.abc import Iterable
from pathlib import Path

from aaa.config.command_schema import SampleConfig
from aaa.config.overrides import Keys, set_to
from aaa.config.schema import TrainConfig
from aaa.tracking.printed import command, one_line


def setting(key: str, value: object) -> str:
    """The argument that sets a key to a number or an option, or to null where it has none."""
    return f"{key}={'null' if value is None else value}"


def train_command(*arguments: str, **paths: Path) -> str:
    """`python -m aaa.train KEY=PATH ... ARGUMENT ...`"""
    keys = Keys(TrainConfig)
    given = [set_to(key, os.fspath(path), keys) for key, path in paths.items()]
    return command("python", "-m", "aaa.train", *given, *arguments)


def sample_command(model: Path, prompt: str, *arguments: str) -> str:
    """`python -m aaa.sample model=MODEL prompt=PROMPT ...`"""
    keys = Keys(SampleConfig)
    # `model` is what the command's `saved_model` is called.
    place = set_to("saved_model", os.fspath(model), keys).removeprefix("saved_")
    given = [place, set_to("prompt", one_line(prompt), keys)]
    return command("python", "-m", "aaa.sample", *given, *arguments)


def compare_command(folders: Iterable[Path]) -> str:
    """`python -m aaa.compare FOLDER ...`"""
    shown = [os.fspath(folder) for folder in folders]
    return command("python", "-m", "aaa.compare", *(f"./{name}" if name.startswith("-") else name for name in shown))
