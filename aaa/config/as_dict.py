"""Configs as dictionaries of Python values."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def as_dict(config: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """A config, and all within it, as dictionaries and lists.

    Args:
        config: of any group.
        resolve: what interpolations refer to in their place; False leaves them as they are written.

    Raises:
        OmegaConfBaseException: if one refers to what there is not.
    """
    container = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
