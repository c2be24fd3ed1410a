"""What is said of a config that cannot be composed: of keys, groups and options that there are not, of values."""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, GrammarParseError, InterpolationKeyError

from aaa.cli.other_names import OPTIONS, SET_ELSEWHERE, key_meant, option_meant, respelt
from aaa.config.groups import CONF, group_options, options_of
from aaa.config.option_keys import options_with
from aaa.config.overrides import key_of, quoted, user_folders
from aaa.errors import did_you_mean, in_plain_words, nearest
from aaa.tracking.printed import shown

# The extra that has a launcher or sweeper.
PLUGINS = {"joblib": "sweeps", "optuna": "sweeps"} | dict.fromkeys(
    ("submitit_slurm", "submitit_local", "ray"), "cluster"
)

INTERPOLATED = "MissingMandatoryValue while resolving interpolation: "
OF_SAVED_MODELS = ("sample", "evaluate", "web", "average")  # commands without most groups of a run


def explain_config(error: Exception, config_name: str, arguments: list[str]) -> str:
    """One message for what Hydra and OmegaConf say, in whose parsers' words nobody is interested."""
    text = str(error).strip()
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
        of_hydra = re.findall(r"^\t(\S+)$", text, re.MULTILINE) if match[1].startswith("hydra/") else []
        return _unknown_option(match[1], match[2], group_options(*folders) | ({match[1]: of_hydra} if of_hydra else {}))
    if (match := re.search(r"Could not override '([^']+)'", text)) and not text.startswith("In '"):
        key, groups = match[1], group_options(*folders)
        if key.partition("@")[0] in groups and config_name not in OF_SAVED_MODELS:
            typed = next(argument for argument in arguments if key_of(argument) == key)
            return f"{typed}: nothing is chosen there that it could replace. It is added with a plus: +{typed}"
        return _unknown_key(key, _valid_keys(config_name, arguments), groups, folders)
    if match := re.search(r"Error merging override (\S+?)=(.*)", text, re.DOTALL):
        return f"{match[1]}={match[2].strip()}: {in_plain_words(str(cause or text), match[1])}"
    if match := re.fullmatch(rf"(?:{INTERPOLATED})?Missing mandatory value: (\S+)(?:\n.*)*", text):
        return f"{match[1]}: has no value yet, and must have one: {match[1]}=VALUE"
    if match := re.search(r"Additional config directory '(.*)' not found", text):
        return f"--config-dir {match[1]}: there is no such folder."
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and is_dataclass(cause.object_type):
        return _unknown_in_a_file(cause, text, folders)
    if isinstance(cause, OSError) and cause.filename is not None:
        return f"{cause.filename}: {cause.strerror}."
    # OmegaConf's causes may be sentences with their variables still in them.
    told = [text, *([] if cause is None or re.search(r"\$[A-Z_]{3,}", str(cause)) else [str(cause)])]
    lines = [line.strip() for line in "\n".join(told).splitlines()]
    keep = [line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_type="))]
    message = "\n  ".join(dict.fromkeys(keep))
    key = getattr(error, "full_key", None)
    return message.replace("$FULL_KEY", key or "a key") if key is None or key in message else f"{key}: {message}"


def no_option(arguments: list[str]) -> str:
    """What is said of `logger=null`, `data=false` or `model=1`: Hydra does not say which group it was."""
    groups = group_options(CONF, *user_folders(arguments))
    of_groups = [a for a in arguments if "=" in a and key_of(a) in groups]
    chosen = next((a for a in of_groups if a.partition("=")[2] not in groups[key_of(a)]), "group=null")
    options = ", ".join(groups.get(key_of(chosen), []))
    left_out = "a group cannot be left out" if chosen.endswith("=null") else "no such option"
    group, _, option = chosen.partition("=")
    return f"{chosen}: {left_out}. There is: {options}.{_of_a_path(group, option)}"


def _unknown_option(group: str, option: str, known: dict[str, list[str]]) -> str:
    if group in ("hydra/launcher", "hydra/sweeper") and (extra := PLUGINS.get(option)) is not None:
        return f'{group}={option}: is a plug-in of Hydra that is not installed: pip install -e ".[{extra}]"'
    of_group = group.partition("/")[0]
    if group not in known and of_group in known:  # a path, say
        group, option = of_group, f"{group[len(of_group) + 1 :]}/{option}"
    options = known.get(group) or options_of(group)
    if not options:
        return f"{group}={option}: there is no config group '{group}'{nearest(group, list(known))}."
    there = f"There is: {', '.join(options)}.{_of_a_path(group, option)}"
    alike, theirs = nearest(option, options), did_you_mean(option_meant(group, option, known))
    hint = theirs or alike if option in OPTIONS else alike or theirs
    return f"{group}={option}: no such option{hint}. {there}"


def _of_a_path(group: str, option: str) -> str:
    """A hint for whoever names data by where they lie."""
    if group != "data" or not ("/" in option or Path(option).exists()):
        return ""
    return f" Pictures in a folder are data=imagefolder data.root={option}; docs/data.md has the other kinds."


def _unknown_key(key: str, keys: list[str], groups: dict[str, list[str]], folders: Sequence[Path]) -> str:
    parent, _, last = key.rpartition(".")
    if (where := SET_ELSEWHERE.get(last)) is not None and f"{parent}._target_" not in keys:
        return f"{key}: no such config key. {where}"
    group, _, inner = key.partition(".")
    if inner and (having := options_with(group, inner, groups.get(group, []), folders)):
        chosen = " and ".join(f"{group}={option}" for option in having)
        return f"{key}: no such config key of what is chosen. {chosen} {'has' if len(having) == 1 else 'have'} it."
    if not parent:
        there = sorted({name for name in keys if "." not in name})
        hints = (nearest(respelt(key), keys), *(nearest(word, there) for word in key.split("_")))
        hint = did_you_mean(key_meant(key, keys)) or next(filter(None, hints), "")
        return f"{key}: no such config key{hint}. There is: {', '.join(there)}."
    meant = respelt(key)
    siblings = sorted({name.removeprefix(f"{parent}.").split(".")[0] for name in keys if name.startswith(f"{parent}.")})
    allowed = f" Under '{parent}' there is: {', '.join(siblings)}." if parent and siblings else ""
    others = [name for name in keys if not meant.startswith(f"{name}.")]
    made = f"{parent}._target_" in keys
    added = f" What its class takes and its config does not name is added with a plus: +{key}=VALUE." if made else ""
    hint = did_you_mean(key_meant(key, others)) or nearest(meant, others)
    return f"{key}: no such config key{hint}.{allowed}{added}"


def _unknown_in_a_file(error: ConfigKeyError | ConfigAttributeError, text: str, folders: Sequence[Path]) -> str:
    """What is said of a key that a config has, and the class that says what is in its group has not."""
    assert is_dataclass(error.object_type)
    key = str(error.full_key)
    parent = key.rpartition(".")[0]
    known = [field.name for field in fields(error.object_type) if not field.name.startswith("_")]
    option = re.match(r"In '([^']+)'", text)
    places = [folder / f"{option[1]}.yaml" for folder in folders] if option else []
    file = next((f"{shown(place)}: " for place in places if place.is_file()), "")
    hint = nearest(key, [f"{parent}.{name}" for name in known])
    return f"{file}{key}: no such config key{hint}. Under '{parent}' there is: {', '.join(sorted(known))}."


def _valid_keys(config_name: str, arguments: list[str]) -> list[str]:
    """Dotted keys of the config that the chosen group options compose, without the overrides of values."""
    folders = user_folders(arguments)
    groups = list(group_options(CONF, *folders))
    choices = [a for a in arguments if key_of(a).partition("@")[0] in groups and "," not in a]
    if folders:
        choices.append(f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in folders)}]")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        try:
            config = hydra.compose(config_name, overrides=choices)
        except HydraException:  # one of them is what is wrong
            config = hydra.compose(config_name)
    own = [group for group in groups if config_name not in OF_SAVED_MODELS or group in config]
    return [*own, *_dotted(config)]


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
