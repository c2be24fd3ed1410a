"""A group's values as its schema has them, or what of them it cannot have."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.errors import UserError, in_plain_words, nearest


def as_schema(schema: type, values: Mapping[str, Any], prefix: str) -> DictConfig:
    """What a group says, each value of its type, with what its schema has for keys that it does not say.

    Args:
        schema: dataclass of the group.
        values: by key.
        prefix: of their keys in the config, with the dot.

    Raises:
        UserError: naming a key that the schema does not have, or whose value is of another type.
    """
    known = [f.name for f in fields(schema)]
    for key in map(str, values):
        if key not in known:
            there = f"There is: {', '.join(known)}."
            raise UserError(f"{prefix}{key}: nothing reads this key{nearest(key, known)}. {there}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException as error:
        wrong = f"{prefix}{error.full_key}"
        value = OmegaConf.select(OmegaConf.create({**values}), str(error.full_key))
        raise UserError(f"{wrong}={value}: {in_plain_words(str(error), wrong)}") from None
    assert isinstance(merged, DictConfig)
    return merged
