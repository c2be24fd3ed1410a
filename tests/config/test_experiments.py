"""Every experiment, recipe and row of the ledger is a config that a run can have."""

import shlex
from functools import cache
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from aaa.cli import SAVED_MODEL, keys_of
from aaa.cli.arguments import read_arguments
from aaa.config.groups import CONF
from aaa.config.sampling_choice import SamplingChoice
from tests.helpers.composed import checked, compose

LEDGER = CONF.parent / "experiments" / "ledger"
RECIPES = ["recipe_tutorial", "recipe_prx", "recipe_speedrundit", "recipe_minit2i", "recipe_ours"]
EMOJI = ["data=openmoji", "text_encoder=minilm"]
ROWS: dict[str, dict[str, dict[str, str]]] = {  # by the experiment that they are runs of
    experiment: yaml.safe_load((LEDGER / name).read_text())
    for experiment, name in (("ledger", "ledger.yaml"), ("ledger_openmoji", "emoji.yaml"))
}
WAYS: dict[str, dict[str, str]] = yaml.safe_load((LEDGER / "drawing.yaml").read_text())


def leaves(config: DictConfig) -> dict[str, Any]:
    def walk(value: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= walk(inner, f"{prefix}.{key}" if prefix else str(key))
        return found

    return walk(OmegaConf.to_container(config, resolve=False), "")


@cache
def default() -> DictConfig:
    return checked()


@cache
def leaves_of(*overrides: str) -> dict[str, Any]:
    return leaves(checked(*overrides))


def changed(*overrides: str) -> set[str]:
    """Keys in which a config is not the default."""
    ours, default = leaves_of(*overrides), leaves_of()
    return {key for key in ours.keys() | default.keys() if ours.get(key) != default.get(key)}


@pytest.mark.parametrize("data", [[], EMOJI], ids=["shapes", "openmoji"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_composes_with_both_data_sets(recipe: str, data: list[str]) -> None:
    config = checked(f"+experiment={recipe}", *data)
    assert config.name == recipe
    assert config.model.dim == 128
    assert config.data.name == ("openmoji" if data else "shapes")


def test_our_recipe_is_the_default() -> None:
    assert changed("+experiment=recipe_ours") == {"name"}


def test_the_sweep_of_recipes_is_of_all_of_them() -> None:
    swept = yaml.safe_load((CONF / "experiment" / "recipes.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert swept["+experiment@_global_"].split(",") == RECIPES
    config = checked("+experiment=recipes", "+experiment@_global_=recipe_prx")
    assert (config.name, config.routing.kind, config.budget.seconds) == ("recipe_prx", "tread", 120)
    on_emoji = checked("+experiment=recipes", "+experiment@_global_=openmoji", *EMOJI, "name=x", "budget.seconds=600")
    assert (on_emoji.encoder.downscale_factor, on_emoji.budget.seconds, on_emoji.name) == (8, 600, "x")


def test_a_baseline_of_the_ledger_learns_as_the_default_does() -> None:
    of_looking = {
        "name",
        "budget.flops",
        "trainer.max_steps",
        "trainer.validate_every_steps",
        "trainer.sample_every_steps",
        "trainer.save_every_steps",
        "checkpoint.keep_last",
        "evaluation.num_images",
        "sampling.steps",
    }
    assert changed("+experiment=ledger") == of_looking


@pytest.mark.parametrize(("experiment", "row"), [(experiment, row) for experiment in ROWS for row in ROWS[experiment]])
def test_a_row_of_a_ledger_composes_and_changes_something(experiment: str, row: str) -> None:
    told = ROWS[experiment][row]
    assert told.keys() == {"add", "published", "source"}
    ours = leaves_of(f"+experiment={experiment}", *shlex.split(told["add"]))
    assert (ours != leaves_of(f"+experiment={experiment}")) == (row != "baseline")


@pytest.mark.parametrize("row", WAYS)
def test_the_default_can_be_drawn_in_a_way_of_the_ledger(row: str) -> None:
    assert WAYS[row].keys() == {"add", "published", "source"}
    keys = keys_of("evaluate")
    added = read_arguments(shlex.split(WAYS[row]["add"]), keys, SAVED_MODEL)
    told = compose("saved_model=x", "steps=15", *added, config_name="evaluate")
    choice = SamplingChoice(steps=told.steps, sampler=told.sampler, guidance=told.guidance)
    of_baseline = SamplingChoice(steps=15).applied_to(default())
    same = choice.applied_to(default()) == of_baseline and told.weights == "ema"
    assert same == (row == "baseline")
