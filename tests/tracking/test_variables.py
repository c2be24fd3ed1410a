"""Environment variables: what of them counts."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from aaa.errors import UserError
from aaa.run.accelerator import make_accelerator
from aaa.run.parent import warn_of_differences
from aaa.tracking.environment import write_environment
from aaa.tracking.variables import (
    LOCAL_SIZES,
    RANKS,
    SHARED_OUT,
    SIZES,
    is_helper,
    recorded_variables,
    require_launch,
    wants_cpu,
)

# A name, what it says, and whether there is a word about it for a bf16 run on a CPU with two micro-batches.
VARIABLES = [
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", True),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2", False),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1", False),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "many", True),
    ("ACCELERATE_MIXED_PRECISION", "no", False),
    ("ACCELERATE_MIXED_PRECISION", "bf16", False),
    ("ACCELERATE_MIXED_PRECISION", "fp16", True),
    ("ACCELERATE_MIXED_PRECISION", "fp8", True),
    ("ACCELERATE_DYNAMO_BACKEND", "NO", False),
    ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", True),
    ("ACCELERATE_TORCH_DEVICE", "meta", True),
    ("ACCELERATE_TORCH_DEVICE", "cpu", False),
    ("ACCELERATE_USE_CPU", "True", False),
    ("ACCELERATE_USE_CPU", "False", False),
    ("ACCELERATE_USE_CPU", "maybe", True),
    ("ACCELERATE_GRADIENT_CLIPPING", "0.5", True),
]


@pytest.mark.parametrize(("name", "value", "told"), VARIABLES)
def test_the_config_alone_says_what_accelerate_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str, told: bool
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_DYNAMO_MODE", "default")
    accelerator = make_accelerator("cpu", "bf16", 2)
    weight = torch.ones((), requires_grad=True)
    accelerator.backward(3 * weight)
    assert weight.grad == 3
    assert (accelerator.device.type, accelerator.mixed_precision) == ("cpu", "bf16")
    assert accelerator.state.dynamo_plugin.backend == "NO"
    assert [record.levelno for record in caplog.records if name in record.message] == [logging.WARNING] * told
    assert os.environ.get(name) == (None if value == "maybe" else value)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("name", SHARED_OUT)
def test_ways_to_share_a_model_out_that_there_are_not_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(UserError, match=rf"{name}=true: .* is not supported; .* trainer\.gradient_checkpointing=true"):
        make_accelerator("cpu", "no", 1)


def test_the_launchers_wish_for_a_cpu_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wants_cpu()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert wants_cpu()


def test_what_is_set_is_written_down_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("WANDB_NAME", "mine")
    monkeypatch.setenv("HOME_OF_OTHERS", "x")
    assert "HOME_OF_OTHERS" not in recorded_variables()
    now = write_environment(tmp_path / "environment.json", "cpu", {})
    written = json.loads((tmp_path / "environment.json").read_text())["variables"]
    assert written["WANDB_NAME"] == "mine"
    assert "0123456789abcdef" not in json.dumps(written)
    monkeypatch.delenv("ONEDNN_DEFAULT_FPMATH_MODE")
    monkeypatch.setenv("WANDB_NAME", "other")
    parent = {"parent": {"how": "resume", "run": "r"}, "earlier": [now]}
    warn_of_differences(write_environment(tmp_path / "environment.json", "cpu", parent))
    assert "ONEDNN_DEFAULT_FPMATH_MODE BF16 -> None" in caplog.text
    assert "WANDB_NAME" not in caplog.text


@pytest.mark.parametrize(
    ("changed", "told"),
    [({}, False), ({"diff": "+1"}, True), ({"new": {"conf/mine.yaml": "b"}}, True), ({"new": None}, False)],
)
def test_other_changes_are_told_and_files_of_which_nothing_was_recorded_are_not(
    caplog: pytest.LogCaptureFixture, changed: dict[str, Any], told: bool
) -> None:
    now = {"commit": "c0ffee", "diff": "", "new": {"conf/mine.yaml": "a"}}
    before = {key: value for key, value in (now | changed).items() if value is not None}
    parent = {"parent": {"how": "resume", "run": "r"}, "earlier": [{"git": before}], "git": now}
    warn_of_differences(parent)
    assert ("uncommitted changes differ" in caplog.text) == told


LAUNCHERS = (*RANKS, *SIZES, *LOCAL_SIZES, "LOCAL_RANK", "MASTER_ADDR")


@pytest.mark.parametrize(
    ("variables", "helper", "refused"),
    [
        ({}, False, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False, None),
        ({"RANK": "3"}, False, None),  # of a scheduler, or left over
        ({"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": ""}, False, None),
        ({"LOCAL_RANK": "-1"}, False, None),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, False, None),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "a"}, True, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}, True, None),
        ({"RANK": "3", "WORLD_SIZE": "4"}, True, "RANK=3 WORLD_SIZE=4: make this one of several processes"),
        ({"LOCAL_RANK": "0"}, False, "LOCAL_RANK=0: make this one of several"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, False, "unset OMPI_COMM_WORLD_SIZE"),
        ({"WORLD_SIZE": "two"}, None, "WORLD_SIZE=two: must be a whole number"),
    ],
)
def test_who_is_one_of_several_processes(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], helper: bool | None, refused: str | None
) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if helper is not None:
        assert is_helper() == helper
    if refused is None:
        require_launch()
    else:
        with pytest.raises(UserError, match=refused):
            require_launch()
