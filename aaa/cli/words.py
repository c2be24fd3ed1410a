"""Words where a number is wanted, in parts of the config that have no schema."""

import math
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config.overrides import ANY, Keys
from aaa.errors import UserError


def refuse_words_for_numbers(hydra_config: DictConfig, keys: Keys) -> None:
    """Refuse `optimizer.learning_rate=1e-4x`: what is a number by default stays one.

    Args:
        hydra_config: Hydra's own, of the job that runs.
        keys: of the config; those that a schema describes have been looked at by now.

    Raises:
        UserError: naming the key.
    """
    overrides = OverridesParser.create().parse_overrides(list(hydra_config.overrides.task))
    chosen = [o for o in overrides if o.key_or_group in hydra_config.runtime.choices]
    given = {o.key_or_group: o.value() for o in overrides if o not in chosen and keys.holds(o.key_or_group) == ANY}
    words = {key: value for key, value in given.items() if _is_no_number(value)}
    if not words:
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
    for key, word in words.items():
        default = _default(defaults, key)
        if not isinstance(default, bool | int | float) or "${" in str(word):
            continue
        if not (isinstance(default, bool) and isinstance(word, bool)):
            wanted = "true or false" if isinstance(default, bool) else "a number"
            shown = str(word).lower() if isinstance(word, bool) else word
            raise UserError(f"{key}={shown}: must be {wanted}, such as {str(default).lower()}.")


def _is_no_number(value: Any) -> bool:
    """Whether it is a word, a truth, which Python takes for 0 or 1, or `nan`."""
    return isinstance(value, str | bool) or (isinstance(value, float) and math.isnan(value))


def _default(defaults: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(defaults, key)
    except OmegaConfBaseException:
        return None
