"""Where conf/ is, and what groups and options it has.

Nothing here loads torch. To import this makes the schemas and resolvers of conf/ known to Hydra.
"""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from aaa.config.descriptions import described_groups, described_keys, described_own_keys
from aaa.config.resolvers import register_resolvers
from aaa.config.schema import SCHEMAS, PartConfig, TrainConfig

PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries conf/ inside the package; a checkout has it beside the package.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def register() -> None:
    """Make the schemas and the resolvers of conf/ known to Hydra."""
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"schema_{name}", node=schema)
    register_resolvers()
    OmegaConf.register_new_resolver("config_groups", _list_groups, replace=True)
    OmegaConf.register_new_resolver(
        "bench_options", lambda: described_groups([("bench", options_of("bench"))]), replace=True
    )
    OmegaConf.register_new_resolver("keys_of_command", lambda name: described_keys(SCHEMAS[name]), replace=True)
    OmegaConf.register_new_resolver("keys_of_train", lambda: described_own_keys(TrainConfig), replace=True)
    OmegaConf.register_new_resolver("keys_of_encode", lambda: described_keys(PartConfig, "encode."), replace=True)


def group_options(*roots: Path) -> dict[str, list[str]]:
    """The config groups of a training run with their options.

    Args:
        roots: config folders; ours if none are given.
    """
    options: dict[str, set[str]] = {}
    for root in roots or (CONF,):
        for folder in root.iterdir():
            if folder.is_dir() and folder.name not in ("hydra", "bench"):
                options.setdefault(folder.name, set()).update(path.stem for path in folder.glob("*.yaml"))
    return {group: sorted(options[group]) for group in sorted(options)}


def options_of(group: str) -> list[str]:
    """Our options of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _list_groups() -> str:
    return described_groups(
        ("+experiment" if name == "experiment" else name, options) for name, options in group_options().items()
    )


register()
