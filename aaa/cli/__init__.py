"""How a command starts and ends: compose the config, run the task, turn any error into one clear message."""

import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from aaa.cli.arguments import for_hydra, may_begin_or_go_on, read_arguments
from aaa.cli.ending import end_at_once
from aaa.cli.errors import explain, is_refusal
from aaa.cli.requeue import requeue_on_signal
from aaa.cli.wrong_numbers import refuse_wrong_numbers
from aaa.config.groups import CONF, group_options
from aaa.config.leaves import leaves
from aaa.config.overrides import MISSING_MARK, Keys, key_of, value_of, wants_sweep
from aaa.config.schema import SCHEMAS, TrainConfig
from aaa.errors import UserError
from aaa.run.after_sweep import say_how_it_ended
from aaa.run.claim import claimed_sweep, close_log, forget_start, is_of_others, wait_for_beginners
from aaa.run.earlier_sweep import SAME_SWEEP
from aaa.tracking.files import replace_text
from aaa.tracking.printed import harmless, print_anything
from aaa.tracking.recorded_overrides import MULTIRUN
from aaa.tracking.redaction import hide_argument, hide_from_now_on, redact, without_secrets

logger = logging.getLogger(__name__)

Task = Callable[[DictConfig], object]
HELP = {"--help", "-h"}
# How the commands that take a saved model are told: beside conf/ Hydra takes `model` and `guidance` for groups.
SAVED_MODEL = {"model": "saved_model", "guidance=": "guidance.scale"}


def run(
    task: Task,
    config_name: str,
    called: Mapping[str, str] | None = None,
) -> NoReturn:
    """Run a command on this process's arguments and exit.

    The exit code is 0 on success, 1 after an error, 130 or 143 after Ctrl-C or SIGTERM.

    Args:
        task: what the command does with its composed config.
        config_name: its primary config, a file of conf/ without `.yaml`.
        called: keys that the user calls by another name than the config, as `read_arguments` has them.
    """
    print_anything()
    arguments: list[str] = []
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra prints errors its own way unless told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    _silence_failed_jobs()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    requeue_on_signal()

    reported: list[Exception] = []

    def report(error: Exception) -> None:
        if error in reported:  # the last of a sweep, which Hydra raises once more
            return
        reported.append(error)
        if wants_traceback:
            print(redact("".join(traceback.format_exception(error))), file=sys.stderr)
        message = _as_called(redact(explain(error, config_name, arguments)), called or {})
        print(f"error: {harmless(message)}", file=sys.stderr)

    try:
        keys = keys_of(config_name)
        arguments = read_arguments(sys.argv[1:], keys, called or {})
        for key in filter(None, map(key_of, arguments)):  # before anything is said or written of them
            hide_from_now_on({key.rpartition(".")[2]: value_of(arguments, key)})
        if config_name == "train" and may_begin_or_go_on(arguments):
            wait_for_beginners()
        sys.argv[1:] = for_hydra(arguments, config_name)
        if HELP & {*arguments}:
            Hydra.format_config_groups = _no_groups
        job = _reported(task, report, keys)
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)
        well = _through_hydra(start, report)
        sys.stdout.flush()  # here it may still be said that it failed
    except KeyboardInterrupt:
        of_sweep = config_name == "train" and wants_sweep(arguments)
        print(f"Interrupted.{f' To go on with the sweep: {SAME_SWEEP}.' if of_sweep else ''}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `| head` has read enough; nothing more can be said to it
        _say_no_more()
        sys.exit(1)
    except SystemExit as stop:
        sys.exit(1 if stop.code == 2 else stop.code)  # argparse's own code for what it does not know
    except Exception as error:
        report(error)
        try:
            sys.stdout.flush()
        except OSError:  # it was that
            _say_no_more()
        sys.exit(1)
    if well:
        end_at_once()
    sys.exit(0 if well else 1)


def _say_no_more() -> None:
    """Let what is still to be printed go nowhere, as it cannot be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _through_hydra(start: Callable[[], object], report: Callable[[Exception], None]) -> bool:
    """Run a job, or those of a sweep, of which it is said how it ended; whether all came to a good end."""
    well = True
    try:
        start()
    except BrokenPipeError:
        raise
    except Exception as error:
        report(error)
        well = False
    finally:
        if (sweep := claimed_sweep()) is not None:  # a job hides what is secret there, if one came to begin
            _hide_in(sweep / MULTIRUN)
    if sweep is not None:
        say_how_it_ended(sweep)
    return well


def _no_groups(*_arguments: object, **_named: object) -> str:
    """In place of Hydra's own list of groups, which takes it two seconds and stands in none of our helps."""
    return ""


def keys_of(config_name: str) -> Keys:
    """What the keys of a command's config hold."""
    return Keys(SCHEMAS.get(config_name, TrainConfig), frozenset(group_options()))


def _as_called(message: str, called: Mapping[str, str]) -> str:
    """A message that names keys as people call them."""
    for name, key in called.items():
        message = message if name.endswith("=") else re.sub(rf"\b{key}(?=[:=',]|\.$)", name, message)
    return message


def _silence_failed_jobs() -> None:
    """Keep Hydra from printing the overrides of a failed job, secrets and all, after our own message."""

    def value(job: JobReturn) -> object:
        if job.status is JobStatus.FAILED:
            raise job._return_value
        return job._return_value

    def keep(job: JobReturn, value: object) -> None:
        job._return_value = value

    JobReturn.return_value = property(value, keep)


def _exit_on_signal(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def _reported(task: Task, report: Callable[[Exception], None], keys: Keys) -> Task:
    """Report the failure of a job at once, its traceback kept for the log file.

    A sweep goes on with its next job, so there the error is passed on to Hydra, which fails the sweep at its end.
    """

    def wrapped(config: DictConfig) -> object:
        try:
            told = OmegaConf.to_container(config, resolve=False)
            if is_of_others(folder := Path(HydraConfig.get().runtime.output_dir)):
                close_log(folder)  # what is said of this job is no message of that run
            else:
                _hide_secrets(told)
            _refuse_missing(told)
            refuse_wrong_numbers(HydraConfig.get(), config, keys)
            return task(config)
        except KeyboardInterrupt:  # a run that has come to nothing yet is not to be found later
            if HydraConfig.get().mode is not RunMode.MULTIRUN and config.get("resume") in (None, "auto"):
                forget_start(Path(HydraConfig.get().runtime.output_dir))
            raise
        except Exception as error:
            logger.debug("failed", exc_info=True)
            report(error)
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            if is_refusal(error) and config.get("resume") in (None, "auto"):
                forget_start(Path(HydraConfig.get().runtime.output_dir))
            sys.exit(1)

    # Hydra finds the job's name through the task's module.
    wrapped.__module__ = task.__module__
    return wrapped


def _refuse_missing(told: Any) -> None:
    """Refuse a config that lacks a value, before anything is loaded that would ask for it.

    Raises:
        UserError: naming the key.
    """
    for key, value in leaves(told):
        if value == MISSING_MARK and not key.startswith("data.parts."):  # of a mixture: more is said of those
            raise UserError(f"{key}: has no value yet, and must have one: {key}=VALUE")


def _hide_secrets(told: Any) -> None:
    """Take secrets out of what Hydra has written down, and out of the command line that others may write down."""
    hide_from_now_on(told)
    sys.argv[1:] = [hide_argument(argument) for argument in sys.argv[1:]]
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    written = [folder / ".hydra" / name for name in ("config.yaml", "overrides.yaml", "hydra.yaml")]
    if hydra_config.mode is RunMode.MULTIRUN:
        written.append(Path(hydra_config.sweep.dir) / MULTIRUN)
    for path in written:
        _hide_in(path)


def _hide_in(path: Path) -> None:
    """Take secrets out of a file of YAML, if it is there."""
    if path.is_file():
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        if (shown := without_secrets(content)) != content:
            replace_text(path, OmegaConf.to_yaml(OmegaConf.create(shown)))
