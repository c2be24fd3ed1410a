"""A run folder that somebody else may have made is not obeyed without a word."""

from pathlib import Path

import pytest

from aaa.errors import UserError
from aaa.run.earlier_run import earlier_run
from aaa.saved.named_model import COMPOSED
from aaa.tracking.recorded_overrides import OVERRIDES


def a_run(folder: Path, config: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / OVERRIDES).write_text("- seed=1\n")
    (folder / COMPOSED).write_text(f"trainer: {{max_steps: 1}}\nseed: 0\n{config}")
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
def test_keys_that_came_after_the_run_are_taken(tmp_path: Path, how: str) -> None:
    run = a_run(tmp_path / "run", "data: {name: shapes, resolution: 16}")
    found = earlier_run(
        ["data.max_records=8", "init_from_parts=fitting", "seed=1", "data.resolution=8", f"{how}={run}"]
    )
    assert found is not None
    assert found.arguments[:2] == ["+data.max_records=8", "+init_from_parts=fitting"]
    assert found.arguments[2:4] == ["seed=1", "data.resolution=8"]


JUDGED = "evaluation: {_target_: aaa.evaluation.shapes.ShapesAgreement, num_images: 8}"


@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_its_own_groups_may_be_said_again(tmp_path: Path, how: str) -> None:
    """As who adds `resume=` to the command that began the run does."""
    run = a_run(tmp_path / "run", JUDGED)
    (run / OVERRIDES).write_text("- seed=1\n- evaluation=shapes\n- evaluation.num_images=8\n- model=dit_10m\n")
    found = earlier_run(["model=dit_10m", "evaluation=shapes", "seed=1", f"{how}={run}"])
    assert found is not None
    assert found.arguments == ["seed=1", f"{how}={run}"]
    with pytest.raises(UserError, match=f"^model=dit_30m: a {how}.* run keeps its config"):
        earlier_run(["model=dit_30m", f"{how}={run}"])


@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_groups_that_change_nothing_of_what_is_learned_may_be_swapped(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run", f"guidance: {{scale: 3, odd: 1}}\n{JUDGED}")
    (run / OVERRIDES).write_text("- evaluation=none\n")  # and was resumed with another since
    given = ["--config-dir=x", "guidance.scale=2", "evaluation=shapes", f"{how}={run}", "evaluation=none"]
    found = earlier_run([*given, "guidance=prompt"])
    assert found is not None
    assert found.arguments == [
        "--config-dir=x",
        "~evaluation._target_",
        "~evaluation.num_images",
        "+evaluation._target_='aaa.evaluation.none.NoEvaluation'",
        "~guidance.scale",
        "~guidance.odd",
        "+guidance._target_='aaa.diffusion.guidance.PromptGuidance'",
        "+guidance.scale=${sampling.guidance}",
        "+guidance.interval=${sampling.guidance_interval}",
        "+guidance.rescale=0.0",
        "guidance.scale=2",
        f"{how}={run}",
    ]
    said = "takes the place of what the run had, from here on."
    assert capsys.readouterr().err == f"evaluation=none: {said}\nguidance=prompt: {said}\n"
    with pytest.raises(UserError, match=r"^sampler=hen: no such option \(did you mean 'heun'\?\)\. There is: dpmpp"):
        earlier_run(["sampler=hen", f"{how}={run}"])
    with pytest.raises(UserError, match=r"^sampler=heun,sde: a run that goes on or is repeated takes one option"):
        earlier_run(["sampler=heun,sde", f"{how}={run}"])


def test_an_option_of_ones_own_takes_a_groups_place_if_it_stands_by_itself(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", "name: mine")
    own = tmp_path / "conf" / "evaluation"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("_target_: mine.Judge\nparts: {a: ['${name}', 1e-3]}\n")
    (own / "more.yaml").write_text("defaults: [mine, _self_]\n")
    given = [f"--config-dir={own.parent}", f"resume={run}"]
    found = earlier_run([*given, "evaluation=mine"])
    assert found is not None
    assert found.arguments[1:3] == ["+evaluation._target_='mine.Judge'", "+evaluation.parts={a: [${name},0.001]}"]
    with pytest.raises(UserError, match=r"evaluation=more: .*more\.yaml has no _target_ by itself"):
        earlier_run([*given, "evaluation=more"])


@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_a_run_of_our_own_is_taken(tmp_path: Path, how: str) -> None:
    run = a_run(tmp_path / "run", "name: mine")
    found = earlier_run([f"{how}={run}"])
    assert found is not None
    assert (found.how, found.folder) == (how, run)
