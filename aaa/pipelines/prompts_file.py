"""The prompts that pictures are drawn of, one or those of a file, and the names of their pictures."""

import re
from collections.abc import Sequence

from omegaconf import DictConfig

from aaa.config.prompts import read_prompts
from aaa.errors import UserError

LONGEST = 40  # letters of a prompt in the name of a picture


def prompts_of(config: DictConfig) -> list[str]:
    """The prompt, or those of the file that is named.

    Raises:
        UserError: if there is none, or both are given.
    """
    if config.prompts is None:
        if config.prompt is None:
            raise UserError('prompt: has no value yet, and must have one: prompt="...", or of several prompts=FILE')
        return [config.prompt]
    said = f"prompts={config.prompts}"
    if config.prompt is not None:
        raise UserError(f"{said} prompt={config.prompt}: only one of them can say what to draw.")
    return read_prompts(config.prompts, said)


def beginnings_of_names(prompts: Sequence[str]) -> list[str]:
    """How the names of each prompt's pictures begin: with its number, so that they stay in order, and its words."""
    digits = len(str(len(prompts) - 1))
    words = [re.sub(r"\W+", "_", prompt)[:LONGEST].strip("_") for prompt in prompts]
    return [f"{number:0{digits}}-{said}-" for number, said in enumerate(words)]
