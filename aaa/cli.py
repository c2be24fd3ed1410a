"""How a command starts and ends: compose the config, run the task, turn any error into one clear message."""

import difflib
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config import CONF, group_options
from aaa.earlier_run import EarlierRun, earlier_run
from aaa.earlier_sweep import MULTIRUN, earlier_sweep
from aaa.errors import UserError
from aaa.requeue import requeue_on_signal
from aaa.resolvers import geomspace
from aaa.tracking.files import replace_text
from aaa.tracking.redaction import hide_argument, hide_from_now_on, redact

logger = logging.getLogger(__name__)

OWN_FOLDER = "'${claimed:.hydra,${hydra.runtime.output_dir}}'"
NEW_FOLDER = "${unused_folder:outputs/${name}/${now:%Y-%m-%d_%H-%M-%S}}"

# The extra that has a launcher or sweeper.
PLUGINS = {"joblib": "sweeps", "optuna": "sweeps"} | dict.fromkeys(
    ("submitit_slurm", "submitit_local", "ray"), "cluster"
)

# How Optuna says that all trials of a study have failed, from its database and from memory.
NOTHING_FINISHED = ("Record does not exist.", "No trials are completed yet.")

Task = Callable[[DictConfig], object]


def run(
    task: Task,
    config_name: str,
    config_dir: Path = CONF,
    texts: tuple[str, ...] = (),
    called: Mapping[str, str] | None = None,
) -> NoReturn:
    """Run a command on this process's arguments and exit.

    The exit code is 0 on success, 1 after an error, 130 or 143 after Ctrl-C or SIGTERM.

    Args:
        task: what the command does with its composed config.
        config_name: its primary config, a file of `config_dir` without `.yaml`.
        config_dir: where its configs are.
        texts: keys whose values are taken as they are typed, commas and all.
        called: keys that the user calls by another name than the config.
    """
    arguments = [_quoted(_renamed(argument, called or {}), texts) for argument in sys.argv[1:]]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra prints errors its own way unless told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    signal.signal(signal.SIGTERM, _exit_on_signal)
    requeue_on_signal()

    def report(error: Exception) -> None:
        if wants_traceback:
            traceback.print_exception(error)
        print(f"error: {redact(explain(error, config_name, config_dir, arguments))}", file=sys.stderr)

    try:
        sys.argv[1:] = _for_hydra([_spread_out(argument) for argument in arguments])
        job = _reported(task, report)
        hydra.main(version_base="1.3", config_path=str(config_dir), config_name=config_name)(job)()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `| head` has read enough; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SystemExit as stop:
        sys.exit(1 if stop.code == 2 else stop.code)  # argparse's own code for a flag that it does not know
    except Exception as error:
        report(error)
        sys.exit(1)
    sys.exit(0)


def _renamed(argument: str, called: Mapping[str, str]) -> str:
    key, equals, value = argument.partition("=")
    return f"{called[key]}={value}" if equals and key in called else argument


def _quoted(argument: str, texts: tuple[str, ...]) -> str:
    """A text's argument in quotes, so that Hydra reads no lists, sweeps or interpolations into it."""
    key, equals, value = argument.partition("=")
    if key not in texts or not equals or value in ("", "null") or value[0] in "'\"":
        return argument
    escaped = re.sub(r"\\+(?='|$)", lambda match: match[0] * 2, value).replace("'", "\\'").replace("${", "\\${")
    return f"{key}='{escaped}'"


def _spread_out(argument: str) -> str:
    """`key=geomspace(1e-3,1e-1,3)`, which Hydra does not know, as the values that it stands for."""
    match = re.fullmatch(r"([^=]+)=geomspace\(([^(),]+),([^(),]+),([^(),]+)\)", argument)
    return argument if match is None else f"{match[1]}={geomspace(*match.groups()[1:])}"


def _run_overrides(earlier: EarlierRun | None) -> list[str]:
    """Further overrides for Hydra.

    A resumed run takes its own config instead of conf/ and goes on in its own folder; one that is repeated gets a new
    one. The helpers in a launch of several processes leave run folder, config and log to the first process.
    """
    helper = int(os.environ.get("RANK", "0")) > 0
    resumed = earlier is not None and earlier.how == "resume"
    overrides = ["hydra.run.dir=."] if helper else []
    if helper or resumed:
        overrides.append("hydra.output_subdir=null")
    if earlier is not None:
        overrides += ["hydra.job.name=train", "hydra/hydra_logging=none"]
        if not resumed:
            overrides.append("resume=null")  # the run to repeat may have been resumed itself
            overrides.append("+hydra.callbacks.before_sweep._target_=aaa.run.before_sweep.BeforeSweep")
            if not helper:
                overrides.append(f"hydra.output_subdir={OWN_FOLDER}")
        if not helper:
            overrides.append(f"hydra.run.dir='{earlier.folder}'" if resumed else f"hydra.run.dir='{NEW_FOLDER}'")
            overrides += [f"hydra.sweep.dir='{NEW_FOLDER}'", "hydra.sweep.subdir=${hydra.job.num}"]
    if helper or earlier is not None:
        overrides.append(f"hydra/job_logging={'aaa_console' if helper else 'aaa'}")
    return overrides


def _for_hydra(arguments: list[str]) -> list[str]:
    earlier = earlier_run(arguments)
    if (sweep := earlier_sweep(arguments)) is not None:
        arguments = _with_overrides(arguments, ["resume=auto", f"hydra.sweep.dir='{sweep}'"])
    flags = [] if earlier is None else [f"--config-dir={earlier.folder / '.hydra'}", "--config-name=config"]
    return [
        *flags,
        *_with_overrides(arguments if earlier is None else earlier.arguments, _run_overrides(earlier)),
    ]


def _with_overrides(arguments: list[str], overrides: list[str]) -> list[str]:
    """The arguments with more overrides: in one row with those that are there, as argparse wants them."""
    first = next((i for i, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    return [*arguments[:first], *overrides, *arguments[first:]]


def _exit_on_signal(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def _reported(task: Task, report: Callable[[Exception], None]) -> Task:
    """Report the failure of a job at once, its traceback kept for the log file.

    A sweep goes on with its next job, so there the error is passed on to Hydra, which fails the sweep at its end.
    """

    def wrapped(config: DictConfig) -> object:
        try:
            _hide_secrets(config)
            return task(config)
        except Exception as error:
            logger.debug("failed", exc_info=True)
            report(error)
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            sys.exit(1)

    # Hydra finds the job's name through the task's module.
    wrapped.__module__ = task.__module__
    return wrapped


def _hide_secrets(config: DictConfig) -> None:
    """Take secrets out of what Hydra has written down, and out of the command line that others may write down."""
    hide_from_now_on(OmegaConf.to_container(config, resolve=False))
    sys.argv[1:] = [hide_argument(argument) for argument in sys.argv[1:]]
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    written = [folder / ".hydra" / name for name in ("config.yaml", "overrides.yaml", "hydra.yaml")]
    if hydra_config.mode is RunMode.MULTIRUN:
        written.append(Path(hydra_config.sweep.dir) / MULTIRUN)
    for path in written:
        if path.is_file() and (redacted := redact(text := path.read_text(encoding="utf-8"))) != text:
            replace_text(path, redacted)


def explain(error: Exception, config_name: str, config_dir: Path, arguments: list[str]) -> str:
    """One message for an error: what was wrong, and the nearest thing that would have worked."""
    cause = error.__cause__ or error.__context__
    known: BaseException | None = error
    while known is not None:  # Hydra wraps what a class named by `_target_` raises, OmegaConf what a resolver does
        if isinstance(known, UserError):
            return str(known)
        known = known.__cause__ or known.__context__
    text = str(error).strip()
    if isinstance(error, HydraException | OmegaConfBaseException):
        if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
            return _unknown_option(match[1], match[2])
        if (match := re.search(r"Could not override '([^']+)'", text)) and not text.startswith("In '"):
            return _unknown_key(match[1], _valid_keys(config_name, config_dir, arguments))
        if match := re.search(r"Error merging override (\S+?)=(.*)", text):
            reason = str(cause).splitlines()[0] if cause else text
            return f"{match[1]}={match[2].strip()}: {reason}"
        lines = [line.strip() for line in (text + "\n" + str(cause or "")).splitlines()]
        keep = [
            line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_type="))
        ]
        return "\n  ".join(dict.fromkeys(keep))
    if isinstance(error, ValueError) and text in NOTHING_FINISHED:
        return "No run of the search has finished, so there is no best one. What went wrong with each is said above."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
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


def _unknown_option(group: str, option: str) -> str:
    if group in ("hydra/launcher", "hydra/sweeper") and (extra := PLUGINS.get(option)) is not None:
        return f'{group}={option}: is a plug-in of Hydra that is not installed: pip install -e ".[{extra}]"'
    options = group_options().get(group)
    if options is None:
        return f"{group}={option}: there is no config group '{group}'{_nearest(group, list(group_options()))}."
    return f"{group}={option}: no such option{_nearest(option, options)}. There is: {', '.join(options)}."


def _unknown_key(key: str, keys: list[str]) -> str:
    parent = key.rpartition(".")[0]
    siblings = sorted({name.removeprefix(f"{parent}.").split(".")[0] for name in keys if name.startswith(f"{parent}.")})
    allowed = f" Under '{parent}' there is: {', '.join(siblings)}." if parent and siblings else ""
    return f"{key}: no such config key{_nearest(key, keys)}.{allowed}"


def _nearest(word: str, words: list[str]) -> str:
    """` (did you mean 'x'?)` for the word that is most alike, comparing last parts when whole keys are not."""
    matches = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    if not matches:
        last = {name.rpartition(".")[2]: name for name in reversed(words)}
        matches = [last[m] for m in difflib.get_close_matches(word.rpartition(".")[2], list(last), n=1, cutoff=0.7)]
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def _valid_keys(config_name: str, config_dir: Path, arguments: list[str]) -> list[str]:
    """Dotted keys of the config that the chosen group options compose, without the overrides of values."""
    groups = list(group_options()) if config_dir == CONF else []
    choices = [argument for argument in arguments if argument.partition("=")[0] in groups and "," not in argument]
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
