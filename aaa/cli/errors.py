"""One message for each error that ends a command."""

import errno
import re
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationKeyError, OmegaConfBaseException

from aaa.cli.arguments import user_folders
from aaa.config.checks import CONF, group_options
from aaa.config.overrides import key_of, quoted
from aaa.errors import UserError, in_plain_words, nearest
from aaa.tracking.variables import is_launch

# The extra that has a launcher or sweeper.
PLUGINS = {"joblib": "sweeps", "optuna": "sweeps"} | dict.fromkeys(
    ("submitit_slurm", "submitit_local", "ray"), "cluster"
)

# How gloo, NCCL and torch's store say that they have lost somebody.
LOST = re.compile(
    r"Connection (?:closed|reset) by peer|Connection refused|Broken pipe|No route to host|[Tt]imed out waiting \d+ms|"
    r"Socket Timeout|wait timeout after \d+ms|ncclRemoteError|ncclSystemError|failed to recv, got 0 bytes|"
    r"NCCL communicator was aborted",
    re.IGNORECASE,
)

# How Optuna says that all trials of a study have failed, from its database and from memory.
NOTHING_FINISHED = ("Record does not exist.", "No trials are completed yet.")

INTERPOLATED = "MissingMandatoryValue while resolving interpolation: "
# What keys are called elsewhere, for a hint.
SPELT_OUT = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size", "steps": "max_steps"}


def explain(error: Exception, config_name: str, config_dir: Path, arguments: list[str]) -> str:
    """One message for an error: what was wrong, and the nearest thing that would have worked."""
    known: BaseException | None = error
    while known is not None:  # Hydra wraps what a class named by `_target_` raises, OmegaConf what a resolver does
        if isinstance(known, UserError):
            return str(known)
        if isinstance(known, OSError) and isinstance(error, OmegaConfBaseException):
            return _of_the_system(known)
        known = known.__cause__ or known.__context__
    text = str(error).strip()
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_config(error, text, config_name, config_dir, arguments)
    if isinstance(error, ValueError) and text.startswith("Config group override must be"):
        return _no_option(arguments)
    if isinstance(error, ValueError) and text in NOTHING_FINISHED:
        return "No run of the search has finished, so there is no best one. What went wrong with each is said above."
    if isinstance(error, OSError):
        return _of_the_system(error)
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
    return (
        f"{type(error).__name__}: {text}\n"
        "  This was not expected. Set HYDRA_FULL_ERROR=1 for the traceback; train.log in the run folder has it too."
    )


def _of_the_system(error: OSError) -> str:
    """What the operating system refuses, with the file that it is about where there is one."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    try:
        Path.cwd()
    except FileNotFoundError:
        return "The working directory is not there any more. cd to one that is, and run it again."
    if error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        return f"What a command prints, or writes, cannot be written: {error.strerror}."
    return f"{type(error).__name__}: {error.strerror or error}."


def _explain_config(error: Exception, text: str, config_name: str, config_dir: Path, arguments: list[str]) -> str:
    """The same of what Hydra and OmegaConf say, in whose parsers' words nobody is interested."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as key=value. Put the value in quotes of its own: key=\"'value'\"."
    if isinstance(error, GrammarParseError) or isinstance(cause, GrammarParseError):
        key = getattr(error, "full_key", None) or getattr(cause, "full_key", None)
        return f"{key or 'config'}: its '${{' begins no interpolation, such as ${{data.name}} or ${{oc.env:HOME}}."
    if isinstance(error, InterpolationKeyError) and "${" in str(Path.cwd()):
        return f"{Path.cwd()}: a run cannot be below a folder with '${{' in its name. Run it elsewhere."
    folders = (CONF, *user_folders(arguments))
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^'/]*)'", text):
        return _unknown_option(match[1], match[2], group_options(*folders))
    if (match := re.search(r"Could not override '([^']+)'", text)) and not text.startswith("In '"):
        return _unknown_key(match[1], _valid_keys(config_name, config_dir, arguments))
    if match := re.search(r"Error merging override (\S+?)=(.*)", text, re.DOTALL):
        return f"{match[1]}={match[2].strip()}: {in_plain_words(str(cause or text), match[1])}"
    if match := re.fullmatch(rf"(?:{INTERPOLATED})?Missing mandatory value: (\S+)(?:\n.*)*", text):
        return f"{match[1]}: has no value yet, and must have one: {match[1]}=VALUE"
    if match := re.search(r"Additional config directory '(.*)' not found", text):
        return f"--config-dir {match[1]}: there is no such folder."
    if isinstance(cause, OSError) and cause.filename is not None:
        return f"{cause.filename}: {cause.strerror}."
    # OmegaConf's causes may be sentences with their variables still in them.
    told = [text, *([] if cause is None or re.search(r"\$[A-Z_]{3,}", str(cause)) else [str(cause)])]
    lines = [line.strip() for line in "\n".join(told).splitlines()]
    keep = [line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_type="))]
    message = "\n  ".join(dict.fromkeys(keep))
    key = getattr(error, "full_key", None)
    return message.replace("$FULL_KEY", key or "a key") if key is None or key in message else f"{key}: {message}"


def _no_option(arguments: list[str]) -> str:
    """What is said of `logger=null`, `data=false` or `model=1`: Hydra does not say which group it was."""
    groups = group_options(CONF, *user_folders(arguments))
    of_groups = [a for a in arguments if key_of(a) in groups]
    chosen = next((a for a in of_groups if a.partition("=")[2] not in groups[key_of(a)]), "group=null")
    options = ", ".join(groups.get(key_of(chosen), []))
    left_out = "a group cannot be left out" if chosen.endswith("=null") else "no such option"
    return f"{chosen}: {left_out}. There is: {options}."


def _unknown_option(group: str, option: str, known: dict[str, list[str]]) -> str:
    if group in ("hydra/launcher", "hydra/sweeper") and (extra := PLUGINS.get(option)) is not None:
        return f'{group}={option}: is a plug-in of Hydra that is not installed: pip install -e ".[{extra}]"'
    of_group = group.partition("/")[0]
    if group not in known and of_group in known:  # a path, say
        group, option = of_group, f"{group[len(of_group) + 1 :]}/{option}"
    options = known.get(group) or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if not options:
        return f"{group}={option}: there is no config group '{group}'{nearest(group, list(known))}."
    return f"{group}={option}: no such option{nearest(option, options)}. There is: {', '.join(options)}."


def _unknown_key(key: str, keys: list[str]) -> str:
    parent, _, last = key.rpartition(".")
    meant = key.removesuffix(last) + SPELT_OUT.get(last, last)
    siblings = sorted({name.removeprefix(f"{parent}.").split(".")[0] for name in keys if name.startswith(f"{parent}.")})
    allowed = f" Under '{parent}' there is: {', '.join(siblings)}." if parent and siblings else ""
    others = [name for name in keys if not meant.startswith(f"{name}.")]
    made = f"{parent}._target_" in keys
    added = f" What its class takes and its config does not name is added with a plus: +{key}=VALUE." if made else ""
    return f"{key}: no such config key{nearest(meant, others)}.{allowed}{added}"


def _valid_keys(config_name: str, config_dir: Path, arguments: list[str]) -> list[str]:
    """Dotted keys of the config that the chosen group options compose, without the overrides of values."""
    folders = user_folders(arguments)
    groups = list(group_options(CONF, *folders)) if config_dir == CONF else []
    choices = [argument for argument in arguments if key_of(argument) in groups and "," not in argument]
    if folders:
        choices.append(f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in folders)}]")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_dir)):
        config = hydra.compose(config_name, overrides=choices)
    return [*groups, *_dotted(config)]


def _dotted(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key in map(str, config):
        name = f"{prefix}{key}"
        keys.append(name)
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        if isinstance(value := config[key], DictConfig):
            keys += _dotted(value, f"{name}.")
    return keys
