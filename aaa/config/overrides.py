"""The one door for values of the command line: taken as they were typed, and written down so that Hydra reads that.

Hydra has a grammar of its own for what follows a `=`: lists, dictionaries, sweeps, functions, interpolations, quotes.
What is meant as such is left as it is; everything else is a text, which is put in quotes where the grammar would read
something else into it, or could not read it at all.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config.keys import HOLDS
from aaa.errors import UserError

PATH, PROSE, TEXT, NUMBER, ANY = "path", "prose", "text", "number", "any"
MISSING_MARK = "???"
# How the parts that a researcher plugs in call what they take, of which no schema knows.
NAMED = {
    PATH: re.compile(r"(^|_)(path|dir|root|folder|file|weights)$"),
    PROSE: re.compile(r"(^|_)(notes|description|prompt|template)$"),
    TEXT: re.compile(r"(^|_)(project|entity|name|id)$"),
}
ARGUMENT = re.compile(r"(\+{0,2}|~)([^=+~]*)=(.*)", re.DOTALL)
INTERPOLATED = re.compile(r"\$\{\s*(\.*[\w.-]+)\s*([:}])")
HOME = re.compile(r"~[\w.-]*([/\\]|$)" if sys.platform == "win32" else r"~[\w.-]*(/|$)")
SWEEPS = ("choice(", "range(", "interval(", "glob(", "tag(", "sort(", "shuffle(")


class Keys:
    """What the keys of a command hold.

    Args:
        schema: of its config.
        groups: names of its config groups.
    """

    def __init__(self, schema: type, groups: frozenset[str] = frozenset()) -> None:
        self.groups = groups
        self._holds = dict(_described(schema))
        self.top = frozenset(key for key in self._holds if "." not in key) | {"hydra"}

    def __contains__(self, key: object) -> bool:
        return key in self._holds

    def named(self, name: str) -> list[str]:
        """Keys of this name, wherever they stand."""
        return [key for key in self._holds if key.rpartition(".")[2] == name]

    def holds(self, key: str) -> str:
        """`path`, `prose`, `text` (of another kind), `number` (or a truth) or `any`, where no schema says."""
        if key in self.groups or "/" in key or "@" in key:
            return ANY
        named = (kind for kind, names in NAMED.items() if names.search(key.rpartition(".")[2]))
        return self._holds[key] if key in self._holds else next(named, ANY)


def as_typed(argument: str, keys: Keys, *, sweep: bool) -> str:
    """A `key=value` as Hydra is to be given it.

    Args:
        argument: as it was typed; its key is one that Hydra can read.
        keys: what they hold.
        sweep: whether several values mean several runs.

    Raises:
        UserError: if the value is several where one is wanted.
    """
    match = ARGUMENT.fullmatch(argument)
    if match is None or match[3] == "":
        return argument
    before, value = argument[: match.start(3)], match[3]
    kind = keys.holds(match[2])
    sweep = sweep and not match[2].startswith("hydra.")
    if value == MISSING_MARK:
        raise UserError(f"{argument}: {MISSING_MARK} is how a config says that a value is still missing.")
    if kind == PROSE:
        return before + _prose(value, sweep=sweep)
    if kind in (PATH, TEXT):
        return before + _text(value, keys, sweep=sweep, is_path=kind == PATH)
    return before + _other(argument, value, keys, sweep=sweep, is_number=kind == NUMBER)


def wants_sweep(arguments: Iterable[str]) -> bool:
    """Whether a flag among the arguments asks for a run of each of several values."""
    return not {"-m", "--multirun"}.isdisjoint(arguments)


def one_text_of_several(argument: str, keys: Keys) -> tuple[str, str] | None:
    """The key and the value of prose that `as_typed` keeps whole though it looks like several values; else None."""
    match = ARGUMENT.fullmatch(argument)
    if match is None or keys.holds(match[2]) != PROSE or not re.search(r"\S,\S", match[3]):
        return None
    meant = match[3].startswith("choice(") or isinstance(_parsed_or_none(match[3]), QuotedString)
    return None if meant else (match[2], match[3])


def value_of(arguments: list[str], key: str) -> Any:
    """What arguments that Hydra can read set a key to, the last of them if there are several; None if none does."""
    for argument in reversed(arguments):
        match = ARGUMENT.fullmatch(argument)
        if match is None or match[1] == "~" or match[2] != key:
            continue
        value = parsed(match[3]) if match[3] else ""
        value = value.text if isinstance(value, QuotedString) else value
        if isinstance(value, str) and "${" in value:
            try:
                return OmegaConf.create({"value": value}).value
            except OmegaConfBaseException:
                return value
        return value
    return None


def key_of(argument: str) -> str:
    """The key of an argument, without what may stand before it."""
    return argument.partition("=")[0].lstrip("+~")


def quoted(text: str, *, literal: bool = True) -> str:
    """A text as Hydra reads it whatever is in it.

    Args:
        text: of any characters.
        literal: whether `${` is only what it is; else interpolations are left in it.
    """
    return QuotedString(without_interpolations(text) if literal else text, Quote.single).with_quotes()


def without_interpolations(value: Any) -> Any:
    """A text, or all texts in lists and dictionaries, so that OmegaConf takes `${` in them for nothing but itself."""
    if isinstance(value, dict):
        return {key: without_interpolations(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_interpolations(part) for part in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", value)


def as_read(value: Any) -> Any:
    """The other way: a text, or all in a list, with `${` where OmegaConf takes it for nothing but itself."""
    if isinstance(value, list):
        return [as_read(part) for part in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"(?<!\\)((?:\\\\)*)\\\$\{", lambda match: match[1][::2] + "${", value)


def set_to(key: str, text: str, keys: Keys) -> str:
    """The argument that sets a key to a text, as a person would type it where that is possible."""
    plain = f"{key}={text}"
    try:
        read = as_typed(plain, keys, sweep=False)
    except UserError:
        return f"{key}={quoted(text)}"
    is_it = text != "null" and not HOME.match(text) and value_of([read], key) == text
    return plain if is_it else f"{key}={quoted(text)}"


def user_folders(arguments: list[str]) -> list[Path]:
    """The config folders of one's own that the flags name."""
    given = [flag.partition("=")[2] for flag in arguments if flag.startswith("--config-dir=")]
    return [Path(folder).absolute() for folder in given if Path(folder).is_dir()]


def in_place_of(key: str, before: Iterable[Any], node: Mapping[Any, Any]) -> list[str]:
    """The arguments that put a node in the place of another, key by key; interpolations stay such.

    By itself, as Hydra sees it, the key may be a config group, which takes the name of an option and no more.

    Args:
        key: of both.
        before: keys of the one that is there; none if there is none.
        node: the one to come.
    """
    gone = [f"~{key}.{part}" for part in before]
    return [*gone, *(f"+{key}.{part}={_written(value, literal=False)}" for part, value in node.items())]


def parsed(value: str) -> Any:
    """What Hydra's grammar reads in a value: a `QuotedString` of what has quotes, a sweep, a plain value.

    Raises:
        HydraException: if it cannot read it.
    """
    return _parser().parse_override(f"key={value}")._value


def is_key(text: str) -> bool:
    """Whether Hydra can read it as a key, with what may stand before it."""
    try:
        return bool(_parser().parse_override(f"{text}=0").key_or_group)
    except (HydraException, AssertionError):
        return False


def _prose(value: str, *, sweep: bool) -> str:
    if value == "null":
        return value
    read = _parsed_or_none(value)
    if isinstance(read, QuotedString):
        return quoted(read.text)
    if sweep and value.startswith("choice(") and _is_sweep(value):
        return value
    return quoted(value)


def _text(value: str, keys: Keys, *, sweep: bool, is_path: bool) -> str:
    if sweep:
        if value.startswith(SWEEPS) and _is_sweep(value):
            return value
        parts = [_one_text(part, keys, is_path=is_path) for part in _split(value)]
        return ",".join(part or "''" for part in parts)
    return _one_text(value, keys, is_path=is_path)


def _one_text(value: str, keys: Keys, *, is_path: bool) -> str:
    if value in ("", "null"):
        return value
    if isinstance(_parsed_or_none(value), QuotedString):
        return value
    if is_path and HOME.match(value):
        with suppress(RuntimeError):  # nobody of that name: then it is a folder's
            value = str(Path(value).expanduser())
    if _is_interpolation(value, keys):
        return value if _parsed_or_none(value) == value else quoted(value, literal=False)
    return value if "${" not in value and _parsed_or_none(value) == value else quoted(value)


def _other(argument: str, value: str, keys: Keys, *, sweep: bool, is_number: bool) -> str:
    """A value of which Hydra's reading is what is meant, if it can read it."""
    try:
        read = _parser().parse_override(f"key={value}")
    except (HydraException, AssertionError):
        return _unreadable(value, keys, sweep=sweep)
    if not read.is_sweep_override() or sweep:
        return value
    if not is_number and ", " in value:
        return quoted(value)
    advice = " A number has a point: 0.5, not 0,5." if re.search(r"=[-+]?\d+,\d+$", argument) else ""
    raise UserError(f"{argument}: several values are a sweep, a run for each, which needs -m.{advice}")


def _unreadable(value: str, keys: Keys, *, sweep: bool) -> str:
    """What Hydra's grammar cannot read: a list or a dictionary with letters that it does not know, or a text."""
    if value[0] in "[{" and (read := _from_yaml(value)) is not None:
        return _written(read)
    if sweep and len(parts := _split(value)) > 1:
        return ",".join(_one_text(part, keys, is_path=False) or "''" for part in parts)
    return quoted(value, literal=not _is_interpolation(value, keys))


def _from_yaml(value: str) -> Any:
    try:
        read = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    whole = isinstance(read, list) or (isinstance(read, dict) and None not in read.values())
    return read if whole else None


def _written(value: Any, *, literal: bool = True) -> str:
    """A list or dictionary in Hydra's grammar; its keys have no quotes there, so odd ones go through a resolver."""
    if isinstance(value, list):
        return f"[{','.join(_written(part, literal=literal) for part in value)}]"
    if isinstance(value, dict):
        pairs = [f"{key}: {_written(part, literal=literal)}" for key, part in value.items()]
        if all(re.fullmatch(r"[A-Za-z_][\w-]*", str(key), re.ASCII) for key in value):
            return f"{{{','.join(pairs)}}}"
        text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**9).strip()
        return quoted("${from_yaml:'" + re.sub(r"(\\+)(?=')", r"\1\1", text).replace("'", "\\'") + "'}", literal=False)
    if value is None or isinstance(value, bool | int | float):
        return "null" if value is None else str(value)
    if not literal and value.startswith("${") and _parsed_or_none(value) == value:
        return str(value)  # what Hydra lists of overrides is resolved: in quotes a number would become a text
    return quoted(str(value), literal=literal)


def _is_interpolation(value: str, keys: Keys) -> bool:
    """Whether every `${` in it names a resolver or a key that there is, and it is whole."""
    found = INTERPOLATED.findall(value)
    if not found or len(found) != value.count("${"):
        return False
    setup_globals()  # Hydra's own resolvers
    for name, end in found:
        if not (OmegaConf.has_resolver(name) if end == ":" else name[0] == "." or name.split(".")[0] in keys.top):
            return False
    try:
        OmegaConf.create({"value": value})
    except OmegaConfBaseException:
        return False
    return True


def _split(value: str) -> list[str]:
    """The values of a sweep: between commas that stand in no quotes or brackets and have no blank beside them."""
    parts, start, depth, quote = [], 0, 0, ""
    balanced = all(value.count(a) == value.count(b) for a, b in ("()", "[]", "{}"))
    for place, letter in enumerate(value):
        if quote:
            quote = "" if letter == quote and value[place - 1] != "\\" else quote
        elif letter in "'\"" and place == start and letter in value[place + 1 :]:
            quote = letter
        elif balanced and letter in "([{":
            depth += 1
        elif balanced and letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0 and " " not in value[max(place - 1, 0) : place + 2]:
            parts.append(value[start:place])
            start = place + 1
    return [*parts, value[start:]]


def _is_sweep(value: str) -> bool:
    try:
        return bool(_parser().parse_override(f"key={value}").is_sweep_override())
    except (HydraException, AssertionError):
        return False


def _parsed_or_none(value: str) -> Any:
    try:
        return parsed(value)
    except (HydraException, AssertionError):
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _described(schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a schema, and of those that extend its parts, with what they hold."""
    hints = get_type_hints(schema)
    for f in fields(schema):
        of_type, key = hints[f.name], f"{prefix}{f.name}"
        if isinstance(of_type, type) and is_dataclass(of_type):
            yield key, ANY
            for part in [of_type, *of_type.__subclasses__()]:
                yield from _described(part, f"{key}.")
        else:
            yield key, f.metadata.get(HOLDS, _of_type(of_type))


def _of_type(of_type: Any) -> str:
    types = set(get_args(of_type) or [of_type]) - {type(None)}
    if types == {str}:
        return TEXT
    return ANY if Any in types else NUMBER
