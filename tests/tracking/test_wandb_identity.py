"""Which W&B run a folder is, whatever the environment says."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from aaa.errors import UserError
from aaa.run.wandb_agent import require_agents_parameters
from aaa.tracking.tracker import RunInfo, Tracker
from aaa.tracking.wandb_identity import WANDB_ID, identify
from aaa.tracking.wandb_logger import WandbLogger, has_credentials
from tests.helpers.wandb_file import written_offline_run

ENVIRONMENT = (
    *("RUN_ID", "SWEEP_ID", "NAME", "TAGS", "NOTES", "PROJECT", "ENTITY", "RUN_GROUP", "JOB_TYPE", "DIR", "RESUME"),
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


def info(folder: Path, kept: str | None = None, group: str | None = None, **environment: Any) -> RunInfo:
    folder.mkdir(parents=True, exist_ok=True)
    if kept is not None:
        (folder / WANDB_ID).write_text(kept)
    return RunInfo(folder, "shapes depth=2", {"name": "shapes"}, ["model.depth=2"], group, 0, environment)


@pytest.mark.parametrize(
    ("kept", "wanted", "sweep", "group", "expected", "told"),
    [
        ("mine", None, None, None, "mine", None),
        ("mine", "mine", None, None, "mine", None),
        ("mine", "other", None, None, "mine", "WANDB_RUN_ID=other has no effect: this run has been W&B's run mine"),
        (None, "other", None, None, "other", None),
        (None, "other", None, "a/sweep", None, "WANDB_RUN_ID=other has no effect: a sweep has many runs"),
        (None, "neighbours", None, None, None, "WANDB_RUN_ID=neighbours has no effect: it is the id of"),
        (None, "agents", "sw1", None, "agents", None),
        ("mine", "agents", "sw1", None, "agents", "This run was W&B's run mine. It goes on as agents"),
        (None, "", None, None, None, None),
    ],
)
def test_the_id_is_the_runs_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kept: str | None,
    wanted: str | None,
    sweep: str | None,
    group: str | None,
    expected: str | None,
    told: str | None,
) -> None:
    info(tmp_path / "neighbour", "neighbours")
    for name, value in (("WANDB_RUN_ID", wanted), ("WANDB_SWEEP_ID", sweep)):
        if value is not None:
            monkeypatch.setenv(name, value)
    found = identify(info(tmp_path / "run", kept, group)).id
    assert found == expected if expected else found not in ("", wanted, "neighbours")
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [told in warning for warning in warnings] == [True] if told else not warnings


def test_a_copy_of_a_run_is_another_run_and_a_moved_one_the_same(tmp_path: Path) -> None:
    info(tmp_path / "original", "mine")
    earlier = [{"output_dir": str(tmp_path / "original")}]
    assert identify(info(tmp_path / "copy", "mine", earlier=earlier)).id != "mine"
    assert identify(info(tmp_path / "original", "mine", earlier=earlier)).id == "mine"
    gone = [{"output_dir": str(tmp_path / "moved away")}]
    assert identify(info(tmp_path / "moved", "mine", earlier=gone)).id == "mine"


def test_names_and_tags_of_the_environment_are_joined_with_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_NAME", "my name")
    monkeypatch.setenv("WANDB_RESUME", "never")
    monkeypatch.setenv("WANDB_TAGS", "one, two ,,")
    alone, swept = identify(info(tmp_path / "a")), identify(info(tmp_path / "b", group="g"))
    assert (alone.name, swept.name) == ("my name", "my name depth=2")
    assert alone.tags == ("one", "two")
    assert "WANDB_RESUME=never has no effect" in caplog.text


LONG = 70 * "x"  # more than W&B has a tag be


def test_wandb_itself_has_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        *(("NAME", "mine"), ("TAGS", f"a,b,,{LONG}"), ("RUN_GROUP", "g"), ("RUN_ID", "abc"), ("NOTES", "why")),
        *(("PROJECT", "theirs"), ("ENTITY", "team"), ("JOB_TYPE", "probe")),
    ):
        monkeypatch.setenv(f"WANDB_{name}", value)
    run = info(tmp_path / "run")
    logger = WandbLogger("aaa", entity="me", notes="because", tags=["c"])
    tracker = Tracker(RunInfo(**(vars(run) | {"remark": "seed 0 -> 1"})), logger)
    tracker.finish(0)
    found = written_offline_run(tmp_path / "run")
    assert (found.run_id, found.name, found.group) == ("abc", "mine", "g")
    assert (found.project, found.entity, found.job_type) == ("theirs", "team", "probe")
    assert (tmp_path / "run" / WANDB_ID).read_text() == "abc"
    assert found.notes == "why\n\nFrom step 1: seed 0 -> 1"
    assert set(found.tags) == {"a", "b", "c", "model.depth=2", LONG[:64]}


def test_variables_that_are_set_to_nothing_are_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROJECT", "ENTITY", "NOTES", "JOB_TYPE"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    Tracker(info(tmp_path / "run"), WandbLogger("aaa", entity="me", notes="because")).finish(0)
    found = written_offline_run(tmp_path / "run")
    assert (found.project, found.entity, found.notes, found.job_type) == ("aaa", "me", "because", "train")


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "nonsense"), ("WANDB_RUN_ID", "a/b")])
def test_what_wandb_refuses_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"logger=wandb: W&B refuses what it is told \(.*logger=none logs nowhere"):
        WandbLogger("aaa").start(info(tmp_path / "run"))


def test_an_agents_parameters_have_to_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.sdk.lib.config_util import save_config_file_from_dict

    path = tmp_path / "config-1.yaml"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sw1")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(path))
    config = OmegaConf.create({"optimizer": {"learning_rate": 1e-3, "name": "x"}, "seed": 1, "flag": True})
    for wanted, fits in (
        ({"optimizer.learning_rate": 0.001, "seed": 1, "flag": True}, True),
        ({"optimizer": {"learning_rate": 0.001}}, True),
        ({"model": "dit_tiny"}, True),
        ({"optimizer.learning_rate": 0.01}, False),
        ({"optimizer": {"learning_rate": 0.01}}, False),
        ({"model": "dit_1b"}, False),
        ({"learning_rate": 0.001}, False),
    ):
        save_config_file_from_dict(str(path), {key: {"value": value} for key, value in wanted.items()})
        if fits:
            require_agents_parameters(config, {"model": "dit_tiny"})
        else:
            with pytest.raises(UserError, match=r"The W&B sweep wants .*docs/wandb_sweep\.yaml"):
                require_agents_parameters(config, {"model": "dit_tiny"})


def test_the_sweep_in_docs_is_what_wandbs_agent_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very code of the agent makes the command; what it starts is this run, id and parameters included."""
    import yaml
    from wandb import wandb_agent

    started: list[tuple[list[str], dict[str, str]]] = []

    class Process:
        last_sigterm_time = None

        def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
            started.append((command, env))

    sweep = yaml.safe_load((Path(__file__).parents[2] / "docs" / "wandb_sweep.yaml").read_text())
    agent = object.__new__(wandb_agent.Agent)
    agent._function, agent._in_jupyter, agent._run_processes, agent._forward_signals = None, False, {}, False
    agent._sweep_command = sweep["command"]
    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"WANDB_SWEEP_ID": "sw1", "WANDB_DIR": str(tmp_path)})
    arguments = {"optimizer.learning_rate": {"value": 0.0034}, "model.depth": {"value": 2}}
    agent._command_run({"run_id": "r1", "program": sweep["program"], "args": arguments})
    ((command, environment),) = started
    assert command == [
        *("/usr/bin/env", "python", "-m", "aaa.train"),
        *("optimizer.learning_rate=0.0034", "model.depth=2", "resume=auto"),
    ]
    assert environment["WANDB_RUN_ID"] == "r1"
    assert set(sweep["parameters"]) == set(arguments)


@pytest.mark.parametrize("name", [".netrc", "_netrc"])
def test_who_has_logged_in_on_whatever_system_is_online(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WANDB_API_KEY", "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_credentials()
    (tmp_path / name).write_text("machine api.wandb.ai login user password 0123", encoding="utf-8")
    (tmp_path / name).chmod(0o600)
    assert has_credentials()
