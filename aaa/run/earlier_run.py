"""The run that a command goes on with or repeats: found before Hydra composes anything, so that its config is taken."""

import socket
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Sweep
from omegaconf import DictConfig, OmegaConf

from aaa.config.commands import train_command
from aaa.config.groups import CONF, group_options
from aaa.config.leaves import leaves
from aaa.config.mixture import data_schema
from aaa.config.overrides import in_place_of, key_of, user_folders, value_of, wants_sweep
from aaa.config.schema import GROUPS, TrainConfig
from aaa.config.trust import read_yaml_config, refuse_foreign_code
from aaa.errors import UserError, nearest
from aaa.saved.checkpoint_folders import CHECKPOINTS, FOLDER, those_of_its_run
from aaa.saved.named_model import COMPOSED
from aaa.tracking.printed import command
from aaa.tracking.recorded_overrides import OVERRIDES, lies_in_sweep, overrides_of_run, own_overrides
from aaa.tracking.redaction import HIDDEN
from aaa.tracking.variables import agents_run, is_helper
from aaa.tracking.wandb_identity import kept_id

RUN_DIR = "hydra.run.dir"
SWAPPABLE = ("evaluation", "guidance", "logger", "sampler")  # groups that change nothing of what is learned
HYDRAS_OWN = ("hydra", "defaults")  # keys of a config that Hydra obeys and leaves out of what it saves
NAMED_BELOW = 3  # runs that a message offers


@dataclass(frozen=True)
class EarlierRun:
    """A run folder to take the config from.

    Attributes:
        how: `resume` goes on in the folder, `repeat` does it again in a new one.
        folder: absolute.
        arguments: of the command, as they are to be given to Hydra.
    """

    how: str
    folder: Path
    arguments: list[str]


def earlier_run(arguments: list[str]) -> EarlierRun | None:
    """The run that the arguments name by `resume=` or `repeat=`, or that `resume=auto` finds.

    Raises:
        UserError: if it is none, or the arguments ask for what such a run cannot do.
    """
    named = {how: _value(arguments, how) for how in ("resume", "repeat")}
    if named["resume"] and named["repeat"]:
        raise UserError("resume= goes on with a run and repeat= does one again: only one of them can be meant.")
    how = "repeat" if named["repeat"] else "resume"
    value = named[how]
    sweep = wants_sweep(arguments)
    if value == "auto" and how == "repeat":
        raise UserError("repeat=auto: which run is to be done again? repeat=outputs/NAME/TIMESTAMP")
    if value is None or (value == "auto" and sweep):  # each job of a sweep looks into its own folder
        return None
    if value == "auto":
        return _same_command(arguments)
    if sweep and how == "resume":
        raise UserError("resume=... goes on with one run; it cannot be swept over with -m.")
    folder = _named_folder(how, value)
    if how == "resume":
        _refuse_other_folder(arguments, folder, value)
    saved = _saved_config(folder, f"{how}={value}")
    arguments = _with_groups(arguments, how, saved, overrides_of_run(folder) or [])
    arguments = [_as_new(argument, saved) for argument in arguments]
    _refuse_unread(saved, arguments)
    if value_of(arguments, "trust_config") is not True:
        refuse_foreign_code(saved, f"{how}={value}")
    given = {key_of(argument) for argument in arguments}
    if missing := [key for key in _hidden_keys(saved) if key not in given]:
        raise UserError(
            f"{how}={value}: {missing[0]} is a secret, which no run keeps. Give it again: {missing[0]}=VALUE. "
            f"(Or keep it in the environment and let the config name it: {missing[0]}='${{oc.env:MY_SECRET}}'.)"
        )
    return EarlierRun(how, folder, arguments)


def _with_groups(arguments: list[str], how: str, saved: DictConfig, own: list[str]) -> list[str]:
    """The arguments with a group's whole node in place of the option that is chosen: a saved config has no groups.

    Args:
        arguments: of the command.
        how: `resume` or `repeat`.
        saved: the config of the run.
        own: overrides that the run was begun with, of which a group may be said again.

    Raises:
        UserError: if the group is one of those that shape what is learned, or has no such option.
    """
    chosen = {key_of(a): a for a in arguments if key_of(a) in group_options()}  # of several the last counts
    rest = [a for a in arguments if key_of(a) not in chosen]
    kept: Any = OmegaConf.to_container(saved, resolve=False)
    swapped: list[str] = []
    for group, argument in chosen.items():
        if group not in SWAPPABLE:
            if argument in own:
                continue
            raise UserError(
                f"{argument}: a {how}{'d' if how == 'resume' else 'ed'} run keeps its config. Of its groups only those "
                f"that change nothing of what is learned can be swapped ({', '.join(SWAPPABLE)}); single keys can be "
                "changed, e.g. trainer.max_steps=4800."
            )
        node, before = _option(argument, arguments), kept.get(group) or {}
        # Where the run was begun with it, its keys may have been given since.
        if node == before or (argument in own and _shape(node) == _shape(before)):
            continue
        if not is_helper():
            print(f"{argument}: takes the place of what the run had, from here on.", file=sys.stderr)
        swapped += in_place_of(group, before, node)
    first = next((place for place, a in enumerate(rest) if not a.startswith("-")), len(rest))  # after the flags
    return [*rest[:first], *swapped, *rest[first:]]


def _option(argument: str, arguments: list[str]) -> dict[str, Any]:
    """What the option of a group says, of ours or of the folders of one's own that flags name."""
    group, name = key_of(argument), value_of([argument], key_of(argument))
    if isinstance(name, Sweep):
        raise UserError(f"{argument}: a run that goes on or is repeated takes one option of a group, not several.")
    roots = [CONF, *user_folders(arguments)]
    path = next((file for root in roots if (file := root / group / f"{name}.yaml").is_file()), None)
    if path is None:
        options = group_options(*roots)[group]
        there = f"There is: {', '.join(options)}."
        raise UserError(f"{argument}: no such option{nearest(str(name), options)}. {there}")
    node: Any = OmegaConf.to_container(read_yaml_config(path), resolve=False)
    if "_target_" not in node:
        raise UserError(f"{argument}: {path} has no _target_ by itself, as what a {group} is swapped for needs to.")
    return node


def _shape(node: Any) -> Any:
    """What tells an option from others whatever numbers it has: its keys and the classes that it names."""
    return {key: value if key.rpartition(".")[2] == "_target_" else None for key, value in leaves(node)}


def _named_folder(how: str, value: str) -> Path:
    """The run folder that is meant, absolute."""
    folder = Path(value).absolute()
    if folder.parent.name == CHECKPOINTS and (folder.parent.parent / COMPOSED).is_file():
        run = folder.parent.parent
        if not (FOLDER.fullmatch(folder.name) and folder.is_dir()):
            raise UserError(f"{how}={value}: there is no such checkpoint. Its run has: {those_of_its_run(folder)}.")
        if how == "resume":
            raise UserError(
                f"resume={value}: a run goes on from its newest checkpoint, in its own folder: "
                f"resume={run}. To go on from this one in a new folder: repeat={value}"
            )
        return run
    if not (folder / COMPOSED).is_file():
        if is_helper():
            raise UserError(
                f"{how}={value}: this machine ({socket.gethostname()}) sees no run in that folder (no {COMPOSED} in "
                f"{folder}), and each process takes the config from there. Put it on a disk that all machines see; to "
                "go on without one: the command that began the run, with resume=auto."
            )
        raise UserError(
            f"{how}={value}: there is no run in that folder (no {COMPOSED} in {folder}). "
            + (_offered(how, folder) or "Give the folder that training named when it started, outputs/NAME/TIMESTAMP.")
        )
    return folder


def _offered(how: str, folder: Path) -> str:
    """The run that a folder or file is part of, or those below it, newest first; nothing if there is none."""
    if (within := next((path for path in folder.parents[:3] if (path / COMPOSED).is_file()), None)) is not None:
        return f"It is part of a run: {how}={within}"
    found = [path.parent.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{OVERRIDES}")]
    found.sort(key=lambda run: (run / OVERRIDES).stat().st_mtime, reverse=True)
    more = ", ..." if len(found) > NAMED_BELOW else ""
    listed = ", ".join(f"{how}={run}" for run in found[:NAMED_BELOW])
    return f"Below it there is: {listed}{more}" if found else ""


def _refuse_other_folder(arguments: list[str], folder: Path, value: str) -> None:
    """A run that goes on does so in its own folder; whatever lies in another one is not its."""
    for key in (RUN_DIR, "output_dir"):
        if (other := _value(arguments, key)) is not None and Path(other).absolute() != folder:
            raise UserError(
                f"{key}={other}: a run that is resumed goes on in its own folder, {folder}. Leave {key} out; to go on "
                f"in a new folder, from one of its checkpoints: repeat={value}/checkpoints/step-NUMBER {key}={other}"
            )


def _as_new(argument: str, saved: DictConfig) -> str:
    """An argument with a `+` before a key that there was not yet when the run began."""
    key = key_of(argument)
    parent, _, name = key.rpartition(".")
    known = {group: _names(schema) for group, schema in GROUPS.items()}
    known |= {"": _names(TrainConfig) - {"resume", "repeat"}, "data": _names(data_schema(saved.get("data") or {}))}
    node = OmegaConf.select(saved, parent) if parent else saved
    is_new = name in known.get(parent, ()) and node is not None and name not in node
    return f"+{argument}" if is_new and argument[0] not in "+~" else argument


def _names(schema: type) -> set[str]:
    return {field.name for field in fields(schema)}


def _refuse_unread(saved: DictConfig, arguments: list[str]) -> None:
    """`+key=value` adds any key to a config that was read from a file; nothing reads one that is not in a group."""
    known = {*map(str, saved), *_names(TrainConfig), "hydra"}
    for argument in arguments:
        key = key_of(argument)
        if argument.startswith("+") and key.partition(".")[0] not in known:
            raise UserError(f"+{key}: nothing reads this key{nearest(key, sorted(known))}.")


def _value(arguments: list[str], key: str) -> str | None:
    value = value_of(arguments, key)
    return None if value in (None, "") else str(value)


def _saved_config(folder: Path, asked: str) -> DictConfig:
    try:
        saved = read_yaml_config(folder / COMPOSED)
    except UserError as error:
        raise UserError(f"{asked}: its config is damaged: {error}") from None
    if "trainer" not in saved:
        raise UserError(f"{asked}: {folder / COMPOSED} is damaged, or not the config of a run.")
    if commands := [key for key in HYDRAS_OWN if key in saved]:
        raise UserError(
            f"{asked}: {folder / COMPOSED} has the key {commands[0]!r}, with which Hydra would set environment "
            "variables, write files or read other configs. No run saves it: somebody has added it. Remove it from the "
            "file if you trust the rest."
        )
    return saved


def _same_command(arguments: list[str]) -> EarlierRun | None:
    """The newest run that a command with the very same overrides began, or None if there is none yet."""
    wanted = own_overrides(arguments)
    chosen = _value(arguments, RUN_DIR)
    for folder in _runs() if chosen is None else [Path(chosen)]:
        if not (folder / OVERRIDES).is_file() or not (folder / COMPOSED).is_file():
            continue
        if agents_run() not in (None, kept_id(folder)):
            continue  # an agent's run is one run, whatever others have had the same overrides
        recorded = own_overrides(overrides_of_run(folder))
        if recorded != wanted:
            if chosen is not None:
                raise UserError(
                    f"{RUN_DIR}={chosen} resume=auto: that folder holds a run of another command. Its overrides were: "
                    f"{command(*recorded) or 'none'}. To go on with it anyway: " + train_command(resume=Path(chosen))
                )
            continue
        saved = _saved_config(folder, "resume=auto")
        hidden = _hidden_keys(saved)
        secrets = [argument for argument in arguments if key_of(argument) in hidden]
        return EarlierRun("resume", folder.resolve(), ["resume=auto", *secrets])
    return None


def _runs() -> list[Path]:
    """Folders of runs under outputs/ that belong to no sweep, newest first."""
    found = [path.parent.parent for path in Path("outputs").glob(f"**/{OVERRIDES}")]
    alone = [folder for folder in found if not lies_in_sweep(folder)]
    return sorted(alone, key=lambda folder: (folder / OVERRIDES).stat().st_mtime, reverse=True)


def _hidden_keys(config: DictConfig) -> list[str]:
    """Dotted keys whose values were secrets."""
    return [key for key, value in leaves(OmegaConf.to_container(config, resolve=False)) if value == HIDDEN]
