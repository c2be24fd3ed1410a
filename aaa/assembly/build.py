"""The object that a config describes with `_target_`, and why it cannot be made."""

import re
import sys
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, get_origin

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from aaa.config.overrides import without_interpolations
from aaa.errors import UserError, nearest, wrong_call
from aaa.traces import raised_at


def build(config: DictConfig, key: str, **arguments: Any) -> Any:
    """Make the object that the config describes under this dotted key: `_target_` with its arguments.

    Raises:
        UserError: if the key is empty, or the class will not have these arguments.
    """
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"{key}={node}: must name a class or function with _target_, and its arguments.")
    try:
        return instantiate(_as_it_is(node), **arguments)
    except Exception as error:
        known = next((e for e in (error, error.__cause__) if isinstance(e, UserError)), None)
        if known is not None:
            raise known from None
        place = _place(error, key)
        described = OmegaConf.to_container(OmegaConf.create(OmegaConf.select(config, place) or {}), resolve=False)
        given = {str(name): value for name, value in described.items()} if isinstance(described, dict) else {}
        target = str(given.get("_target_"))
        if (wrong := wrong_argument(_found(target), given, place)) is not None:
            raise UserError(wrong) from error
        if arguments and place == key and (wrong := _wrong_call(_found(target), given | arguments)) is not None:
            raise UserError(f"{place}: {wrong} (docs/extending.md).") from error
        at = raised_at(error, own=True)
        raise UserError(
            f"{place}: {target} cannot be made: {_reason(error, target)}{f' (at {at})' if at else ''}"
        ) from error


def _place(error: Exception, key: str) -> str:
    """The key of what could not be made, which may lie below the one that was asked for."""
    told = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)
    return told[1] if told is not None and told[1].startswith(f"{key}.") else key


def _found(target: Any) -> Any:
    """The class or function of this name in a module that is loaded, None if there is none."""
    module, _, name = str(target).rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def wrong_argument(target: Any, given: Mapping[str, Any], key: str) -> str | None:
    """What is wrong with an argument of what cannot be made, as far as its signature tells; else None."""
    try:
        parameters = signature(target, eval_str=True).parameters
    except Exception:  # a class of C, or names in its annotations that there are not
        return None
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in given.items():
        if name.startswith("_"):
            continue
        if name not in parameters and not takes_any:
            return f"{key}.{name}: {target.__name__} takes no such argument{nearest(name, [*parameters])}."
        kind = parameters[name].annotation if name in parameters else None
        if get_origin(kind) in (tuple, list, Sequence) and isinstance(value, int | float):
            return f"{key}.{name}={value}: must be a list, such as {key}.{name}=[{value},{value}]."
    return None


def _wrong_call(target: Any, given: Mapping[str, Any]) -> str | None:
    """What is wrong with all arguments together of what cannot be made, ours and those of the config; else None."""
    arguments = {name: value for name, value in given.items() if not name.startswith("_")}
    return wrong_call(target, (), arguments) if callable(target) else None


def _as_it_is(node: DictConfig) -> DictConfig:
    """The node so that texts with `${` in them, such as a path, reach the class as they are.

    Hydra resolves what it has resolved again: arguments twice, what is within lists and dictionaries thrice.
    """
    resolved = OmegaConf.to_container(node, resolve=True)

    def escaped(value: Any, times: int) -> Any:
        if isinstance(value, dict):
            return {key: escaped(part, times if "_target_" in value else 3) for key, part in value.items()}
        if isinstance(value, list):
            return [escaped(part, 3) for part in value]
        return without_interpolations(escaped(value, times - 1)) if times else value

    return node if without_interpolations(resolved) == resolved else OmegaConf.create(escaped(resolved, 2))


def _reason(error: Exception, target: str) -> str:
    cause = error.__cause__ or error
    module, _, name = target.rpartition(".")
    if isinstance(cause, ImportError) and (found := sys.modules.get(module)) is not None and not hasattr(found, name):
        return f"{module} has no {name}{nearest(name, [known for known in dir(found) if not known.startswith('_')])}"
    if (missing := re.search(r"No module named '([^'.]+)'", str(cause))) and missing[1] == target.partition(".")[0]:
        return f"{missing[0]}; python finds a module of yours in the folders of PYTHONPATH: PYTHONPATH=. python -m ..."
    first, *more = str(cause).splitlines() or [type(cause).__name__]
    # Hydra says on a line of its own why a name leads nowhere.
    return f"{first} {more[0]}" if first.startswith("Error loading") and more else first
