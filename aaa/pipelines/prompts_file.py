"""The prompts that pictures are drawn of, one or those of a file, and the names of their pictures."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from aaa.errors import UserError, reason

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
    try:
        text = Path(config.prompts).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{said}: is not in UTF-8. It must be a text file with a prompt on each line.") from None
    except OSError as error:
        raise UserError(f"{said}: cannot be read ({reason(error)}).") from None
    if "\0" in text:
        raise UserError(f"{said}: is no text. It must be a text file with a prompt on each line.")
    prompts = [line.strip() for line in text.split("\n") if line.strip()]
    if not prompts:
        raise UserError(f"{said}: there is no prompt in it, of which each line is to be one.")
    return prompts


def beginnings_of_names(prompts: Sequence[str]) -> list[str]:
    """How the names of each prompt's pictures begin: with its number, so that they stay in order, and its words."""
    digits = len(str(len(prompts) - 1))
    words = [re.sub(r"\W+", "_", prompt)[:LONGEST].strip("_") for prompt in prompts]
    return [f"{number:0{digits}}-{said}-" for number, said in enumerate(words)]
