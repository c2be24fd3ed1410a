"""One message for each error that ends a command."""

import errno
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from aaa.cli.config_errors import explain_config, no_option
from aaa.config.overrides import value_of
from aaa.errors import UserError
from aaa.traces import raised_at
from aaa.tracking.printed import shown
from aaa.tracking.variables import is_launch

# How gloo, NCCL and torch's store say that they have lost somebody.
LOST = re.compile(
    r"Connection (?:closed|reset) by peer|Connection refused|Broken pipe|No route to host|[Tt]imed out waiting \d+ms|"
    r"Socket Timeout|wait timeout after \d+ms|ncclRemoteError|ncclSystemError|failed to recv, got 0 bytes|"
    r"NCCL communicator was aborted",
    re.IGNORECASE,
)

# How Optuna says that all trials of a study have failed, from its database and from memory.
NOTHING_FINISHED = ("Record does not exist.", "No trials are completed yet.")


def explain(error: Exception, config_name: str, arguments: list[str]) -> str:
    """One message for an error: what was wrong, and the nearest thing that would have worked."""
    for known in _with_causes(error):
        if isinstance(known, UserError):
            return str(known)
        if isinstance(known, OSError) and isinstance(error, OmegaConfBaseException):
            return _of_the_system(known, arguments)
    text = str(error).strip()
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain_config(error, config_name, arguments)
    if isinstance(error, ValueError) and text.startswith("Config group override must be"):
        return no_option(arguments)
    if isinstance(error, ValueError) and text in NOTHING_FINISHED:
        return "No run of the search has finished, so there is no best one. What went wrong with each is said above."
    if isinstance(error, OSError):
        return _of_the_system(error, arguments)
    if isinstance(error, RuntimeError) and is_launch() and (said := LOST.search(text)):
        return (
            f"Another process of this launch has ended, hangs or cannot be reached any more ({said[0]}). If it has "
            "ended, it says why: above, or on its machine. What was saved is whole: the same command with resume=auto, "
            "or resume=RUN_FOLDER, goes on from there."
        )
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return (
            f"Out of memory: {text.splitlines()[0] if text else 'the machine has no more'}\n"
            "  A smaller trainer.batch_size (with trainer.gradient_accumulation_steps to make up for it), model or "
            "data.resolution needs less."
        )
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"{mark.name}:{mark.line + 1}: is no YAML: {' '.join(filter(None, [error.context, error.problem]))}."
    place, log = raised_at(error), _log_file()
    return (
        f"{type(error).__name__}: {text}\n"
        f"  This was not expected{f', at {place}' if place else ''}. Set HYDRA_FULL_ERROR=1 for the traceback"
        f"{f'; {log} has it too' if log else ''}."
    )


def is_refusal(error: Exception) -> bool:
    """Whether it says that what was given does not work, and not that something else went wrong."""
    return any(isinstance(known, UserError) for known in _with_causes(error))


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Hydra wraps what a class named by `_target_` raises, OmegaConf what a resolver does."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _log_file() -> Path | None:
    """What the job that runs has written down of itself, if it has."""
    if not HydraConfig.initialized():
        return None
    job = HydraConfig.get()
    log = Path(job.runtime.output_dir) / f"{job.job.name}.log"
    return shown(log) if log.is_file() else None


def _of_the_system(error: OSError, arguments: Sequence[str]) -> str:
    """What the operating system refuses, with the file that it is about where there is one."""
    if error.filename is not None:
        return _of_a_file(str(error.filename), error.strerror or "cannot be used", arguments)
    try:
        Path.cwd()
    except FileNotFoundError:
        return "The working directory is not there any more. cd to one that is, and run it again."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = shown(Path(HydraConfig.get().runtime.output_dir)) if HydraConfig.initialized() else Path.cwd()
        return (
            f"What this command prints, or writes in {folder}, cannot be written: {error.strerror}. Make room there, "
            "or name a folder on another disk: hydra.run.dir=FOLDER (data.cache_dir=FOLDER for latents)."
        )
    if error.errno in (errno.EIO, errno.EBADF):
        return f"What a command prints, or writes, cannot be written: {error.strerror}."
    return f"{type(error).__name__}: {error.strerror or error}."


def _of_a_file(file: str, told: str, arguments: Sequence[str]) -> str:
    """The same of a file, with the key that has set the folder which it is to be in."""
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        folder = value_of([*arguments], key)
        if folder and Path(file).absolute().is_relative_to(Path(str(folder)).absolute()):
            above = next((part for part in (Path(file), *Path(file).parents) if part.is_file()), None)
            why = f"{above} is a file. Give a folder: {key}=FOLDER" if above else f"{told}. Give another: {key}=FOLDER"
            return f"{key}={folder}: {why}"
    return f"{file}: {told}."
