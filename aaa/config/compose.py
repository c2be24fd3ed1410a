"""Composing a config in Python as a command does on its command line, for notebooks and scripts."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose as compose_groups
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from aaa.config.checks import check_config
from aaa.config.groups import CONF


def compose(overrides: Sequence[str] = (), folder: str | Path = "outputs/notebook") -> DictConfig:
    """The config of a training run: `compose(["model=dit_10m", "trainer.max_steps=500"])`.

    Args:
        overrides: Hydra's; values with blanks, quotes or commas in quotes of their own.
        folder: of the run, for what is written.

    Raises:
        UserError: if no run can have these numbers.
        hydra.errors.HydraException: if there is no such key or option.
    """
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = compose_groups("train", [*overrides], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(Path(folder).absolute())
        config.hydra.job.num = 0
        HydraConfig.instance().set_config(config)
        config.output_dir = str(folder)
        del config["hydra"]
    check_config(config)
    return config
