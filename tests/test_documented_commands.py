"""Every command that the documentation shows has a config that there can be."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf

from aaa.cli import SAVED_MODEL, keys_of
from aaa.cli.arguments import for_hydra, read_arguments
from aaa.config.checks import check_config
from aaa.config.groups import CONF
from aaa.config.overrides import user_folders, wants_sweep
from aaa.config.ranges import require_ranges
from aaa.config.schema import SCHEMAS
from tests.helpers.composed import compose
from tests.helpers.documented import ROOT, Documented, commands
from tests.helpers.pretrained import describe_diffusers_vae

COMMANDS = list(chain.from_iterable(map(commands, [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))])))
OF_SAVED_MODELS = ("sample", "evaluate", "web", "average")
PLUGINS = {  # of extras
    "sweep=random": "hydra_optuna_sweeper",
    "sweep=optuna": "hydra_optuna_sweeper",
    "sweep=slurm": "hydra_submitit_launcher",
    "sweep=ray_cluster": "hydra_ray_launcher",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there is what the commands name: a run, prompts, a config folder of one's own, a vision model, a VAE."""
    folder = tmp_path_factory.mktemp("documented")
    run = folder / "outputs" / "shapes-dit_tiny" / "TIMESTAMP"
    for step in (600, 1200):
        (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    (run / ".hydra").mkdir()
    OmegaConf.save(compose(), run / ".hydra" / "config.yaml")
    (run / ".hydra" / "overrides.yaml").write_text("[]")
    (folder / "conf").symlink_to(ROOT / "docs" / "my_project" / "conf")
    (folder / "prompts.txt").write_text("a red circle\n")
    (folder / "FOLDER").mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (folder / "FOLDER" / name).write_text('{"model_type": "vit", "patch_size": 8}')
    describe_diffusers_vae(folder / "models" / "sd-vae")
    return folder


@pytest.mark.parametrize("shown", COMMANDS, ids=lambda shown: shown.place)
def test_a_documented_command_composes(shown: Documented, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for argument in shown.arguments:
        if argument in PLUGINS and find_spec(f"hydra_plugins.{PLUGINS[argument]}") is None:
            pytest.skip(f"{argument} needs {PLUGINS[argument]}")
    monkeypatch.chdir(folder)
    check(shown.command, tuple(shown.arguments))


@cache
def check(command: str, typed: tuple[str, ...]) -> None:
    of_saved = command in OF_SAVED_MODELS
    read = read_arguments(list(typed), keys_of(command), SAVED_MODEL if of_saved else {})
    arguments = for_hydra(read, command)
    for overrides in ends_of_a_sweep(arguments, command) if wants_sweep(arguments) else [overrides_of(arguments)]:
        config = composed(arguments, command, overrides)
        require_ranges(SCHEMAS[command], config) if of_saved else check_config(config)


def overrides_of(arguments: list[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("-")]


def composed(arguments: list[str], command: str, overrides: list[str], *, with_hydra: bool = False) -> DictConfig:
    """As Hydra does for a command with these flags."""
    named = [flag.partition("=")[2] for flag in arguments if flag.startswith("--config-name=")]
    search_path = create_config_search_path(str(CONF))
    for own in user_folders(arguments):
        search_path.prepend("command-line", own.as_uri(), anchor="schema")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("documented", search_path)
    try:
        return hydra.compose(named[0] if named else command, overrides, return_hydra_config=with_hydra)
    finally:
        GlobalHydra.instance().clear()


def ends_of_a_sweep(arguments: list[str], command: str) -> Iterator[list[str]]:
    """The overrides of the runs with the first and with the last values of all that is swept over."""
    overrides = overrides_of(arguments)
    parser = OverridesParser.create()
    if any("experiment=" in override for override in overrides):  # which may say what is swept over
        alone = [str(o.input_line) for o in parser.parse_overrides(overrides) if not o.is_sweep_override()]
        params = composed(arguments, command, alone, with_hydra=True).hydra.sweeper.params or {}
        overrides = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    told = [listed(override) for override in parser.parse_overrides(overrides)]
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(told), None)
    yield list(jobs[0])
    yield list(jobs[-1])


def listed(override: Override) -> str:
    """An override as it is, or a range of a search as its ends."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return f"{override.get_key_element()}={value.start},{value.end}"
    return str(override.input_line)
