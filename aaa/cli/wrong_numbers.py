"""Words, fractions and nulls where a number is wanted, in parts of the config that have no schema."""

import math
from inspect import signature
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config.overrides import ANY, Keys
from aaa.errors import UserError


def refuse_wrong_numbers(hydra_config: DictConfig, config: DictConfig, keys: Keys) -> None:
    """Refuse `optimizer.learning_rate=1e-4x`, `evaluation.num_images=1e2` and `guidance.scale=null`.

    What is a number by default stays one; and a whole one, or no null, where the class that it is for says so.

    Args:
        hydra_config: Hydra's own, of the job that runs.
        config: of that job.
        keys: of the config; those that a schema describes have been looked at by now.

    Raises:
        UserError: naming the key.
    """
    overrides = OverridesParser.create().parse_overrides(list(hydra_config.overrides.task))
    chosen = [o for o in overrides if o.key_or_group in hydra_config.runtime.choices]
    given = {o.key_or_group: o for o in overrides if o not in chosen and keys.holds(o.key_or_group) == ANY}
    doubtful = {key: o for key, o in given.items() if not o.is_delete() and _is_doubtful(o.value())}
    if not doubtful:
        return
    defaults = (
        GlobalHydra.instance()
        .config_loader()
        .load_configuration(
            config_name=hydra_config.job.config_name,
            overrides=[str(o.input_line) for o in chosen],
            run_mode=RunMode.RUN,
        )
    )
    for key, override in doubtful.items():
        default, value = _selected(defaults, key), override.value()
        if not isinstance(default, bool | int | float) or "${" in str(value):
            continue
        if (wanted := _wanted(value, default, config, key)) is not None:
            raise UserError(f"{key}={_shown(override)}: must be {wanted}")


def _is_doubtful(value: Any) -> bool:
    """Whether it is anything but a whole number, which is right wherever a number is."""
    return value is None or isinstance(value, str | bool | float)


def _wanted(value: Any, default: Any, config: DictConfig, key: str) -> str | None:
    """What a value should have been, where it cannot be what it is."""
    such_as = f", such as {str(default).lower()}."
    is_word = isinstance(value, str) or (isinstance(value, float) and math.isnan(value))
    if isinstance(default, bool):
        return f"true or false{such_as}" if is_word else None
    if is_word or isinstance(value, bool):
        return f"a number{such_as}"
    if value is None:
        kinds = _kinds(config, key)
        return f"a number{such_as}" if kinds & {int, float} and NoneType not in kinds else None
    if isinstance(default, float) or int not in (kinds := _kinds(config, key)) or float in kinds:
        return None
    return f"a whole number: {int(value)}." if value.is_integer() else f"a whole number{such_as}"


def _kinds(config: DictConfig, key: str) -> frozenset[Any]:
    """The types that a part's class says it takes for one of its keys; none where it says nothing."""
    part, _, name = key.rpartition(".")
    try:
        taken = signature(get_object(str(_selected(config, f"{part}._target_"))), eval_str=True).parameters
    except Exception:  # no such class, or names in its annotations that there are not: told where it is made
        return frozenset()
    if name not in taken:
        return frozenset()
    annotation = taken[name].annotation
    kinds = frozenset(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else frozenset([annotation])
    return kinds | {NoneType} if taken[name].default is None else kinds


def _shown(override: Override) -> str:
    """A value as it was typed."""
    value = override.value()
    return value if isinstance(value, str) else str(override.input_line).partition("=")[2]


def _selected(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None
