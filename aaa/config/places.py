"""Refuses addresses where data has to lie in a folder, and says how it gets there."""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from aaa.config.mixture import parts_of
from aaa.config.trust import names_ours
from aaa.errors import UserError

KEYS = ("root", "path")
ADDRESS = re.compile(r"(\w+)://(.+)")
OF_THE_HUB = re.compile(r"(?:https?://huggingface\.co/datasets/|hf://datasets/)([\w.-]+/[\w.-]+)")
NAME_ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def check_places(data: DictConfig) -> None:
    """Refuse `data.root=s3://...`, and `data.path=OWNER/NAME` where that is no folder but may be a name on the Hub.

    Raises:
        UserError: with the command that fetches it.
    """
    described = {"data": data} | {f"data.parts.{name}": part for name, part in parts_of(data).items()}
    for group, part in described.items():
        if not names_ours(OmegaConf.select(part, "source._target_")):
            continue  # one's own may read from anywhere
        for name in KEYS:
            if isinstance(value := part.get(name), str):
                _require_folder(f"{group}.{name}", value)


def _require_folder(key: str, value: str) -> None:
    on_the_hub = OF_THE_HUB.match(value)
    if on_the_hub is None and (address := ADDRESS.match(value)) is not None:
        if address[1] == "file":
            raise UserError(f"{key}={value}: give the folder as it is: {key}={address[2]}")
        raise UserError(
            f"{key}={value}: pictures are read from a folder. Copy them into one first, then {key}=FOLDER. "
            "What python -m aaa.encode has encoded is read from an address: data=cache data.address=ADDRESS."
        )
    # Of pictures in a folder, `data.root`, the source says itself what there is to do.
    may_be_name = key.endswith(".path") and NAME_ON_THE_HUB.fullmatch(value) and not Path(value).parent.exists()
    if on_the_hub is None and not may_be_name:
        return
    name = on_the_hub[1] if on_the_hub else value
    folder = name.partition("/")[2]
    fetched = f"fetch it first: hf download {name} --repo-type dataset --local-dir {folder}, then {key}={folder}"
    if on_the_hub:
        raise UserError(f"{key}={value}: data is read from a folder; {fetched}")
    raise UserError(
        f"{key}={value}: there is no such folder (looked in {Path(value).absolute()}). "
        f"If it is a data set's name on the Hub, {fetched}"
    )
