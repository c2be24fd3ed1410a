"""Prompts of one's own, of a file or a list, as a run reads them before anything else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from aaa.config.checks import check_config
from aaa.config.prompts import MOST, own_prompts
from aaa.errors import UserError
from tests.helpers.composed import checked, compose


def config_of(prompts: Any, **more: Any) -> DictConfig:
    return OmegaConf.create({"sampling": {"prompts": prompts}, **more})


@given(st.lists(st.text(max_size=9), min_size=1, max_size=5))
def test_listed_prompts_stay_as_they_are(prompts: list[str]) -> None:
    escaped = [prompt.replace("${", "$ {") for prompt in prompts]  # an interpolation, in a config
    assert own_prompts(config_of(escaped)) == escaped


def test_they_are_typed_as_a_list_or_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_prompts(compose()) is None
    assert own_prompts(checked('sampling.prompts=["a red circle","a blue, small square"]')) == [
        "a red circle",
        "a blue, small square",
    ]
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\ufeffa red circle\r\n\n  a blue square \n", encoding="utf-8")
    assert own_prompts(checked("sampling.prompts=prompts.txt")) == ["a red circle", "a blue square"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_prompts(config_of("~/prompts.txt")) == ["a red circle", "a blue square"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], r"sampling\.prompts=\[\]: there is no prompt in it"),
        (["a", 1], r"sampling\.prompts\[1\]=1: is no text"),
        ([None], r"sampling\.prompts\[0\]=None: is no text"),
        ([["a"]], r"sampling\.prompts\[0\]=\['a'\]: is no text"),
        (5, r"sampling\.prompts=5: must be a file with a prompt on each line, or a list such as sampling\.prompts=\["),
        ({"a": "b"}, "must be a file with a prompt on each line, or a list"),
        (
            "a red circle",
            r"sampling\.prompts=a red circle: cannot be read \(No such file.*, or a list: ",
        ),
        ("empty.txt", r"sampling\.prompts=empty\.txt: there is no prompt in it"),
        ("latin.txt", r"sampling\.prompts=latin\.txt: is not in UTF-8"),
        ("binary.txt", r"sampling\.prompts=binary\.txt: is no text"),
        (
            ["a"] * (MOST + 1),
            f"sampling.prompts: {MOST + 1} prompts, .* There can be {MOST}; a trained model",
        ),
    ],
)
def test_what_are_no_prompts_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n \n")
    Path("latin.txt").write_bytes(b"a caf\xe9\n")
    Path("binary.txt").write_bytes(b"\x00\x01")
    config = compose()
    config.sampling.prompts = given
    with pytest.raises(UserError, match=told):
        check_config(config)


def test_a_run_that_goes_on_may_have_done_with_its_file(tmp_path: Path) -> None:
    gone = f"sampling.prompts={json.dumps(str(tmp_path / 'gone.txt'))}"
    with pytest.raises(UserError, match="cannot be read"):
        checked(gone)
    checked(gone, "resume=outputs/run")
    checked(gone, "repeat=outputs/run")
    with pytest.raises(UserError, match="there is no prompt in it"):
        checked("sampling.prompts=[]", "resume=outputs/run")
