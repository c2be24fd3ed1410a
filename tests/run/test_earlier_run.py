"""A run folder that somebody else may have made is not obeyed without a word."""

from pathlib import Path

import pytest

from aaa.config.recorded_overrides import OVERRIDES
from aaa.errors import UserError
from aaa.run.earlier_run import COMPOSED, earlier_run


def a_run(folder: Path, config: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / OVERRIDES).write_text("- seed=1\n")
    (folder / COMPOSED).write_text(f"trainer: {{max_steps: 1}}\n{config}")
    return folder


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ("hydra: {job: {env_set: {PATH: /elsewhere}}}", "hydra"),
        ("defaults: [another, _self_]", "defaults"),
        ("hydra: null", "hydra"),
    ],
)
@pytest.mark.parametrize("trust", [[], ["trust_config=true"]])
@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_what_a_saved_config_tells_hydra_is_refused(
    tmp_path: Path, how: str, trust: list[str], config: str, key: str
) -> None:
    run = a_run(tmp_path / "run", config)
    with pytest.raises(UserError, match=rf"{how}=.*\.hydra/config\.yaml has the key '{key}'"):
        earlier_run([f"{how}={run}", *trust])


def test_what_a_saved_config_tells_hydra_is_refused_where_the_run_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "outputs" / "one", "hydra: {job: {env_set: {PATH: /elsewhere}}}")
    with pytest.raises(UserError, match=r"resume=auto: .* has the key 'hydra'"):
        earlier_run(["resume=auto", "seed=1"])


@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_its_own_groups_may_be_said_again(tmp_path: Path, how: str) -> None:
    """As who adds `resume=` to the command that began the run does."""
    run = a_run(tmp_path / "run", "name: mine")
    (run / OVERRIDES).write_text("- seed=1\n- logger=none\n")
    found = earlier_run(["logger=none", "seed=1", f"{how}={run}"])
    assert found is not None
    assert found.arguments == ["seed=1", f"{how}={run}"]
    with pytest.raises(UserError, match=f"^logger=wandb: a {how}.* run keeps its config"):
        earlier_run(["logger=wandb", f"{how}={run}"])


@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_a_run_of_our_own_is_taken(tmp_path: Path, how: str) -> None:
    run = a_run(tmp_path / "run", "name: mine")
    found = earlier_run([f"{how}={run}"])
    assert found is not None
    assert (found.how, found.folder) == (how, run)
