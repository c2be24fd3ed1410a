"""Numbers that no benchmark can have are told by their key before anything is measured."""

import re
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from aaa.benchmarks.counts import require_counts
from aaa.config.groups import CONF, options_of
from aaa.errors import UserError


def require(name: str, **changed: Any) -> None:
    """Check the numbers of a benchmark, some of them changed."""
    own = OmegaConf.to_container(OmegaConf.load(CONF / "bench" / f"{name}.yaml"), resolve=True)
    assert isinstance(own, dict)
    require_counts(get_class(own["_target_"]), {str(key): value for key, value in own.items()} | changed, "bench")


@pytest.mark.parametrize("name", options_of("bench"))
def test_our_own_numbers_are_fine(name: str) -> None:
    require(name)


@pytest.mark.parametrize(
    ("name", "key", "value", "shown"),
    [
        ("speed", "batch_sizes", [0], "[0]"),
        ("speed", "batch_sizes", [], "[]"),
        ("speed", "batch_sizes", [1, 2.5], "[1,2.5]"),
        ("speed", "batch_sizes", 4, "4"),
        ("speed", "steps", 0, "0"),
        ("speed", "steps", True, "True"),
        ("scale", "pictures", [], "[]"),
        ("scale", "pictures", [1e6, 0.0], "[1000000.0,0.0]"),
        ("scale", "gpus", [0], "[0]"),
        ("ways", "repeats", 0, "0"),
        ("checkpoint", "repeats", 0, "0"),
        ("startup", "repeats", 0, "0"),
        ("sharing", "repeats", 0, "0"),
        ("overhead", "rounds", 0, "0"),
        ("encode", "records", ["x"], "['x']"),
        ("tutorial", "epochs", 0, "0"),
        ("speedrun", "num_images", 0, "0"),
        ("speedrun", "target", 95, "95"),
        ("coordinates", "steps", [0, 4], "[0,4]"),
        ("coordinates", "batch_size", 0, "0"),
        ("gpu", "batches", ["x"], "['x']"),
        ("gpu", "batches", ["auto", 0], "['auto',0]"),
        ("gpu", "most", "auto", "auto"),
    ],
)
def test_counts_below_one_are_told_by_their_key(name: str, key: str, value: Any, shown: str) -> None:
    with pytest.raises(UserError, match=rf"^bench\.{key}={re.escape(shown)}: must be "):
        require(name, **{key: value})


def test_what_lies_within_is_told_too() -> None:
    tutorial = {"_target_": "aaa.benchmarks.tutorial.Tutorial", "steps": 0}
    with pytest.raises(UserError, match=r"^bench\.tutorial\.steps=0: must be a whole number of at least 1\.$"):
        require("gpu", tutorial=tutorial)


@pytest.mark.parametrize(("name", "value"), [("memory", 0), ("efficiency", 1.5), ("per_machine", 0), ("link", "fast")])
def test_hardware_that_there_is_not(name: str, value: Any) -> None:
    hardware = OmegaConf.to_container(OmegaConf.load(CONF / "bench" / "scale.yaml").hardware)
    assert isinstance(hardware, dict)
    with pytest.raises(UserError, match=rf"^bench\.hardware\.{name}={value}: must be "):
        require("scale", hardware=hardware | {name: value})


def test_what_may_be_none_or_no_count_is_left_alone() -> None:
    require("quality", steps={"ours": 0})
    require("speedrun", seeds=[0])
    require("tutorial", prompt_tokens=None)
    require("gpu", batches=["auto"])
    require("coordinates", depths=[])
