"""The arguments of a command, as Hydra takes them."""

import os
import re
import sys
import unicodedata
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from aaa.cli.other_names import KEYS, key_meant, respelt
from aaa.config.groups import group_options
from aaa.config.overrides import Keys, as_typed, is_key, key_of, one_text_of_several, quoted, value_of, wants_sweep
from aaa.config.resolvers import geomspace
from aaa.errors import UserError, nearest
from aaa.run.earlier_run import EarlierRun, earlier_run
from aaa.run.earlier_sweep import asks_to_go_on, earlier_sweep
from aaa.tracking.variables import is_helper

OWN_FOLDER = "'${claimed:.hydra,${hydra.runtime.output_dir}}'"
NEW_FOLDER = "${unused_folder:outputs/${name}/${now:%Y-%m-%d_%H-%M-%S}}"

# Flags of Hydra, and whether they take a value.
FLAGS = dict.fromkeys(
    ["--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"], False
)
FLAGS |= dict.fromkeys(["--shell-completion", "-sc", "--info", "-i"], False)
FLAGS |= dict.fromkeys(["--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"], True)
FLAGS |= dict.fromkeys(["--config-dir", "-cd", "--experimental-rerun"], True)
RUN_FOLDERS = ("name", "resume", "output_dir", "hydra.run.dir", "hydra.sweep.dir")
CONFIG_DIR = ("--config-dir", "-cd")
SEARCH_PATH = "hydra.searchpath="
INFO = ("--info", "-i")
LONG = {"-cd": "--config-dir", "-cp": "--config-path", "-cn": "--config-name", "-c": "--cfg", "-p": "--package"}
MINUS_SIGN = "\u2212"
# A number, numbers of a sweep, or that there is none.
NUMBERS = re.compile(r"(?:(?:choice|range|interval|geomspace)\(\s*)?[-+]?\.?\d|null$")


def read_arguments(arguments: list[str], keys: Keys, called: Mapping[str, str]) -> list[str]:
    """The arguments that a person typed, flags first, each value so that Hydra reads what was typed.

    Args:
        arguments: of the command.
        keys: of its config.
        called: keys that people call by another name than the config; one that ends in `=`, where it is a number.

    Raises:
        UserError: naming the argument that is neither a flag nor `key=value`.
    """
    flags, overrides = _apart(arguments)
    has_own_groups = any(told.startswith((*CONFIG_DIR, SEARCH_PATH)) for told in (*flags, *overrides))
    _refuse_wrong_flags(flags, keys)
    sweep = wants_sweep(flags)
    read = []
    for place, argument in enumerate(overrides):
        _refuse_malformed(argument, overrides[place - 1] if place else None, overrides[place + 1 :])
        read.append(as_typed(_spread_out(_renamed(argument, called)), keys, sweep=sweep))
        if sweep and (typed := one_text_of_several(argument, keys)) is not None:
            key, value = typed
            print(
                f"note: {key} is one text, commas and all. A run for each: '{key}=choice({value})'",
                file=sys.stderr,
            )
        _refuse_interpolated_folder(argument, read[-1])
        _refuse_left_out(argument, keys)
        if not has_own_groups:
            _refuse_unknown_group(argument, keys)
    _refuse_two_options(read, keys)
    return [*flags, *_last_of_each(read)]


def for_hydra(arguments: list[str], command: str = "train") -> list[str]:
    """The arguments with what an earlier run or sweep that they name makes of them.

    Args:
        arguments: as `read_arguments` gives them.
        command: `train`, or another, which leaves no run behind.

    Raises:
        UserError: if there is no such run, or a sweep is to go on without -m.
    """
    trains = command == "train"
    earlier = earlier_run(arguments)
    if trains and not wants_sweep(arguments) and value_of(arguments, "sweep.resume") is True:
        raise UserError("sweep.resume=true: goes on with a sweep, so -m has to be there too. A run: resume=RUN_FOLDER")
    sweep = earlier_sweep(arguments) if trains else None
    if trains and sweep is None and asks_to_go_on(arguments):
        print("sweep.resume=true: no sweep of this very command was begun here: all anew.", file=sys.stderr)
    overrides = _run_overrides(earlier) if trains or earlier is None else _overrides_of_others(command)
    if sweep is not None:  # of what is said twice the last counts
        overrides += ["resume=auto", f"hydra.sweep.dir={quoted(str(sweep))}"]
    if earlier is None:
        return _with_overrides(arguments, overrides)
    flags = [f"--config-dir={earlier.folder / '.hydra'}", "--config-name=config"]
    # The run's config is whole: no other folder has a part in it.
    own = [argument for argument in earlier.arguments if not argument.startswith(CONFIG_DIR)]
    return [*flags, *_with_overrides(own, overrides)]


def may_begin_or_go_on(arguments: list[str]) -> bool:
    """Whether a run is to be looked for and to begin if there is none, by the process that decides it for a launch."""
    asks_nothing_else = all(argument.startswith(CONFIG_DIR) for argument in arguments if argument.startswith("-"))
    looked_for = value_of(arguments, "resume") == "auto" and value_of(arguments, "hydra.run.dir") is None
    return looked_for and asks_nothing_else and not is_helper()


def _last_of_each(overrides: list[str]) -> list[str]:
    """Without those that add a key which a later one adds again: of what is said twice the last counts."""
    last = {key_of(override): place for place, override in enumerate(overrides) if override.startswith("+")}
    return [o for place, o in enumerate(overrides) if not o.startswith("+") or last[key_of(o)] == place]


def _apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Flags, as `--flag` or `--flag=value`, wherever they stand; and what is left."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            continue
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        name, equals, value = argument.partition("=")
        name = _whole(name)
        takes_next = FLAGS.get(name) or (name in INFO and rest and re.fullmatch(r"[a-z-]+", rest[0]))
        if not equals and takes_next and rest:
            value, equals = rest.pop(0), "="
        if name in CONFIG_DIR and value.startswith("~"):
            value = os.path.expanduser(value)  # noqa: PTH111 - which leaves it where there is no such home
        flags.append(f"{LONG.get(name, name) if equals else name}{equals}{value}")
    return flags, overrides


def _whole(name: str) -> str:
    """The flag that the beginning of its name stands for, as argparse has it; anything else as it is."""
    meant = [known for known in FLAGS if known.startswith(name)] if name.startswith("--") else []
    return meant[0] if len(meant) == 1 else name


def _refuse_wrong_flags(flags: list[str], keys: Keys) -> None:
    """Have Hydra's own parser look at the flags, and say in one line what is wrong with them."""
    names = [flag.partition("=")[0] for flag in flags]
    for flag, name in zip(flags, names, strict=True):
        if name in FLAGS:
            continue
        if name == "-" or not re.search(r"\w", name):
            raise UserError(f"{flag}: a dash alone is no flag. A sweep is -m, without a blank between.")
        key = name.lstrip("-").replace("-", "_")
        if key not in keys.groups | keys.top:
            whole = keys.named(key)
            spelt = respelt(key)
            of_command = spelt if spelt in keys.groups | keys.top else KEYS.get(key, key)
            key = key_meant(key, keys) or (whole[0] if len(whole) == 1 else of_command)
        as_key = f" A key is set without dashes: {key}={flag.partition('=')[2] or 'VALUE'}." if len(key) > 1 else ""
        raise UserError(f"{flag}: there is no such flag{nearest(name, list(FLAGS)) or '.'}{as_key}")
    parser: ArgumentParser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    if not {"--version", "--hydra-help", "--help", "-h"} & set(names):
        parser.parse_args(flags)
    shown = [name for name in names if name in ("--cfg", *INFO)]
    if shown and wants_sweep(names):
        raise UserError(f"{shown[0]} shows one config and -m is for several: only one of them can be meant.")
    if "--resolve" in names and "--cfg" not in names and not {"--help", "-h"} & set(names):
        raise UserError("--resolve goes with --cfg job.")


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message[:1].upper()}{message[1:]}.")


def _refuse_malformed(argument: str, before: str | None, after: list[str]) -> None:
    """Refuse what is neither `key=value` nor `~key`, saying what it looks like."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{argument!r}: not in UTF-8, or this terminal's locale has no such letters. "
            "PYTHONUTF8=1 python -m ... takes them where they are UTF-8."
        ) from None
    key, equals, value = argument.partition("=")
    if is_key(key) and (equals or key.startswith("~")):
        return
    if unicodedata.category(argument[:1] or " ") == "Pd" or argument.startswith(MINUS_SIGN):
        raise UserError(f"{argument}: begins with a dash that is longer than the flags' own. Type it again: -")
    if equals and key.strip("+~ ") == "":
        whole = f"{before}={value or next(iter(after), 'VALUE')}" if before is not None else "seed=1"
        raise UserError(f"{argument}: there is no key before the '='. No blanks stand around it: {whole}")
    if equals and is_key(key.strip()):
        raise UserError(f"{argument}: no blanks stand around the '=': {key.strip()}={value.strip()}")
    if equals:
        raise UserError(
            f"{argument}: {key!r} is not a key of a config, which is of letters from a to z, digits, '_', '-' and '.'."
        )
    if after and after[0].startswith("="):
        value = after[0][1:] or next(iter(after[1:]), "VALUE")
        raise UserError(f"{argument}: no blanks stand around the '=': {argument}={value}")
    plain = unicodedata.normalize("NFKC", argument)
    if match := re.fullmatch(r"([\w./@+]+)(?::|=)(.*)", plain, re.DOTALL):
        raise UserError(f"{argument}: is not key=value. Was {match[1]}={match[2].strip()} meant?")
    having = [group for group, options in group_options().items() if argument in options]
    if len(having) == 1:
        raise UserError(f"{argument}: is neither a flag nor key=value. Was {having[0]}={argument} meant?")
    whole = f" If it belongs to what stands before it, quote all of it: '{before} {argument}'" if before else ""
    raise UserError(f"{argument}: is neither a flag nor key=value.{whole}")


def _refuse_interpolated_folder(typed: str, read: str) -> None:
    """Hydra looks for interpolations in the folder of a run, whatever is done to tell it that there are none."""
    if key_of(read) in RUN_FOLDERS and "\\${" in read:
        raise UserError(f"{typed}: the folder of a run cannot have '${{' in its name.")


def _refuse_left_out(argument: str, keys: Keys) -> None:
    """Refuse `~seed`: what a schema describes is always there."""
    key = key_of(argument)
    if argument.startswith("~") and key not in keys.groups and key in keys.named(key.rpartition(".")[2]):
        raise UserError(f"{argument}: a run needs {key}. {key}=VALUE sets it, to null where it may have none.")


def _refuse_unknown_group(argument: str, keys: Keys) -> None:
    """Refuse `+experiments=ledger`, which would else be a key that nothing reads."""
    key = key_of(argument)
    hint = nearest(key, sorted(keys.groups - keys.top)) if argument.startswith("+") and "." not in key else ""
    if hint and key.partition("@")[0] not in keys.groups | keys.top:
        raise UserError(f"{argument}: there is no config group '{key}'{hint}.")


def _refuse_two_options(overrides: list[str], keys: Keys) -> None:
    """Refuse `+experiment=a +experiment=b`, of which Hydra takes one."""
    added: dict[str, str] = {}
    for override in overrides:
        group, option = key_of(override), override.partition("=")[2]
        if override.startswith("+") and group in keys.groups and added.setdefault(group, option) != option:
            first = f"+{group}={added[group]}"
            raise UserError(
                f"{first} {override}: a group is added once. To have both, say where the second one goes: {first} "
                f"+{group}@_global_={option}"
            )


def _renamed(argument: str, called: Mapping[str, str]) -> str:
    key, equals, value = argument.partition("=")
    name = called.get(f"{key}=" if NUMBERS.match(value) else key, called.get(key))
    return argument if name is None or not equals else f"{name}={value}"


def _spread_out(argument: str) -> str:
    """`key=geomspace(1e-3,1e-1,3)`, which Hydra does not know, as the values that it stands for."""
    match = re.fullmatch(r"([^=]+)=geomspace\(([^(),]+),([^(),]+),([^(),]+)\)", argument)
    return argument if match is None else f"{match[1]}={geomspace(*match.groups()[1:])}"


def _run_overrides(earlier: EarlierRun | None) -> list[str]:
    """Further overrides for Hydra.

    A resumed run takes its own config instead of conf/ and goes on in its own folder; one that is repeated gets a new
    one. The helpers in a launch of several processes leave run folder, config and log to the first process.
    """
    helper = is_helper()
    resumed = earlier is not None and earlier.how == "resume"
    # Where it finds the run that goes on, it says so: on a disk of its own that may be more than the first finds.
    own = quoted(str(earlier.folder)) if earlier is not None and resumed else "."
    overrides = [f"hydra.run.dir={own}"] if helper else []
    if helper or resumed:
        overrides.append("hydra.output_subdir=null")
    if earlier is not None:
        new_folder = quoted(NEW_FOLDER, literal=False)
        overrides += ["hydra.job.name=train", "hydra/hydra_logging=none"]
        if not resumed:
            overrides.append("resume=null")  # the run to repeat may have been resumed itself
            overrides.append("+hydra.callbacks.before_sweep._target_=aaa.run.before_sweep.BeforeSweep")
            if not helper:
                overrides.append(f"hydra.output_subdir={OWN_FOLDER}")
        if not helper:
            overrides.append(f"hydra.run.dir={quoted(str(earlier.folder)) if resumed else new_folder}")
            overrides += [f"hydra.sweep.dir={new_folder}", "hydra.sweep.subdir=${hydra.job.num}"]
    if helper or earlier is not None:
        overrides.append(f"hydra/job_logging={'aaa_console' if helper else 'aaa'}")
    return overrides


def _overrides_of_others(command: str) -> list[str]:
    """What a command that does not train is told where the config of a run takes the place of its own."""
    overrides = ["hydra.run.dir=.", "hydra.sweep.dir=.", "hydra.output_subdir=null", f"hydra.job.name={command}"]
    overrides += ["hydra/hydra_logging=none", "hydra/job_logging=aaa_console", "resume=null"]
    if command == "plan":
        overrides += ["+hydra.callbacks.show_plan._target_=aaa.plan.ShowPlan", "+hydra.callbacks.show_plan.stop=true"]
    return overrides


def _with_overrides(arguments: list[str], overrides: list[str]) -> list[str]:
    """The arguments with more overrides: in one row with those that are there, as argparse wants them."""
    first = next((i for i, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    return [*arguments[:first], *overrides, *arguments[first:]]
