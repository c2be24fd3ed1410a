"""Being started by `wandb agent`: what it wants of the run has to have come through on the command line."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aaa.errors import UserError
from aaa.tracking.variables import agents_parameters


def require_agents_parameters(config: DictConfig, choices: Mapping[str, Any]) -> None:
    """Refuse to train something else than the agent's sweep will say that was trained.

    Args:
        config: of the run.
        choices: options of config groups.

    Raises:
        UserError: naming the first parameter that the config does not have.
    """
    for key, wanted in agents_parameters().items():
        if not _has(config, key, wanted) and choices.get(key) != wanted:
            raise UserError(
                f"The W&B sweep wants {key}={wanted}, and the run would have {key}={_found(config, key)}. The sweep's "
                "command has to pass its parameters on, by ${args_no_hyphens}: see docs/wandb_sweep.yaml."
            )


def _has(config: DictConfig, key: str, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return all(_has(config, f"{key}.{inner}", value) for inner, value in wanted.items())
    found = _found(config, key)
    return bool(found == wanted) or str(found) == str(wanted)


def _found(config: DictConfig, key: str) -> Any:
    found = OmegaConf.select(config, key)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
