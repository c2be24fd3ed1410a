"""Prompts that somebody wants drawn: in a file with one on each line, or listed in a config."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from aaa.config.overrides import HOME
from aaa.errors import UserError, reason

KEY = "sampling.prompts"
EXAMPLE = f'{KEY}=["a red circle","a blue square"]'
# All are drawn again every `trainer.sample_every_steps`, for people to look at: 32 rows of a grid.
MOST = 256


def read_prompts(path: str | Path, said: str) -> list[str]:
    """The prompts of a file, one on each line; blank lines are none.

    Args:
        path: of a text file in UTF-8.
        said: how the file was named, for messages.

    Raises:
        UserError: if it cannot be read, is no text or has no prompt.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
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


def own_prompts(config: DictConfig) -> list[str] | None:
    """The prompts of one's own that a run draws on its way, read from their file if one is named; None: it has none.

    Raises:
        UserError: if `sampling.prompts` is neither a file of prompts nor a list of some, or has too many.
    """
    given = config.sampling.get("prompts")
    if given is None:
        return None
    if (file := file_of_prompts(config)) is not None:
        prompts = _of_file(file, f"{KEY}={given}")
    elif isinstance(given, ListConfig):
        prompts = _listed(given)
    else:
        raise UserError(f"{KEY}={given}: must be a file with a prompt on each line, or a list such as {EXAMPLE}.")
    if len(prompts) > MOST:
        raise UserError(
            f"{KEY}: {len(prompts)} prompts, which would all be drawn every trainer.sample_every_steps for somebody to "
            f"look at. There can be {MOST}; a trained model draws any number: aaa.sample model=RUN prompts=FILE"
        )
    return prompts


def require_prompts(config: DictConfig) -> None:
    """Refuse prompts that a run cannot draw. One that goes on or is repeated may have done with its file.

    Raises:
        UserError: as `own_prompts` does.
    """
    file = file_of_prompts(config)
    if file is None or file.exists() or (config.get("resume") is None and config.get("repeat") is None):
        own_prompts(config)


def file_of_prompts(config: DictConfig) -> Path | None:
    """The file that `sampling.prompts` names, which need not be there; None if it names none."""
    given = config.sampling.get("prompts")
    if not isinstance(given, str):
        return None
    return Path(given).expanduser() if HOME.match(given) else Path(given)


def _of_file(file: Path, said: str) -> list[str]:
    try:
        return read_prompts(file, said)
    except UserError as error:
        if file.exists():
            raise
        raise UserError(f"{error} It is to be a file with a prompt on each line, or a list: {EXAMPLE}") from None


def _listed(given: ListConfig) -> list[str]:
    if not given:
        raise UserError(f"{KEY}=[]: there is no prompt in it. Give some, such as {EXAMPLE}, or null.")
    for number, prompt in enumerate(given):
        if not isinstance(prompt, str):
            raise UserError(f"{KEY}[{number}]={prompt}: is no text, as a prompt must be. Put it in quotes.")
    return [*given]
