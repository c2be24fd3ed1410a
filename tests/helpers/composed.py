"""Configs as the commands compose them, for tests that need no command."""

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from aaa.config.checks import check_config
from aaa.config.groups import CONF


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """The config of `python -m aaa.train` with these overrides."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra.compose(config_name, overrides=list(overrides))


def checked(*overrides: str) -> DictConfig:
    """The same, of a run that there can be."""
    config = compose(*overrides)
    check_config(config)
    return config
