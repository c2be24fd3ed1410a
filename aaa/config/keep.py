"""What `data.keep` says is read before anything else is, so that what is wrong with it is told at once."""

from omegaconf import DictConfig

from aaa.config.condition import Condition
from aaa.config.mixture import parts_of


def check_keep(data: DictConfig) -> None:
    """Refuse a condition that is none.

    Raises:
        UserError: naming the key.
    """
    described = {"data": data} | {f"data.parts.{name}": part for name, part in parts_of(data).items()}
    for group, part in described.items():
        if (keep := part.get("keep")) is not None:
            Condition(keep, f"{group}.keep")
