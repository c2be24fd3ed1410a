"""What people type in place of `key=value`: read, or refused in one line that says what to type."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.cli import SAVED_MODEL, keys_of
from aaa.cli.arguments import for_hydra, read_arguments
from aaa.config.overrides import set_to, value_of
from aaa.errors import UserError

TRAIN = keys_of("train")
ANYTHING = st.one_of(
    st.text(st.sampled_from(list("ab.=+~-@/:,'\"[]{}()$ \\ünï#;!&\n")), max_size=14),
    st.text(max_size=14),
    st.text(max_size=10).map("name=".__add__),
)


@settings(max_examples=150)
@given(st.lists(ANYTHING.filter(lambda text: text != "--experimental-rerun"), max_size=3))
def test_any_arguments_are_read_or_refused_in_our_words(arguments: list[str]) -> None:
    with suppress(UserError):
        read = read_arguments(arguments, TRAIN, {})
        OverridesParser.create().parse_overrides([argument for argument in read if not argument.startswith("-")])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["seed"], "seed: is neither a flag nor key=value."),
        (["prompt=a", "red", "square"], "quote all of it: 'prompt=a red'"),
        (["seed", "=", "1"], "no blanks stand around the '=': seed=1"),
        (["seed", "=1"], "no blanks stand around the '=': seed=1"),
        (["seed=", "1"], "1: is neither a flag nor key=value"),
        (["seed = 1"], "no blanks stand around the '=': seed=1"),
        (["=1"], "there is no key before the '='"),
        (["seed:1"], "Was seed=1 meant?"),
        (["seed\uff1d1"], "Was seed=1 meant?"),
        (["model.d\u00e9pth=3"], "'model.d\u00e9pth' is not a key"),
        (["model[dim]=3"], "'model[dim]' is not a key"),
        (["~/pictures"], "~/pictures: is neither a flag nor key=value."),
        (["/data/pictures"], "is neither a flag nor key=value."),
        (["-", "m", "seed=1,2"], "A sweep is -m, without a blank between"),
        (["\u2014m"], "begins with a dash that is longer"),
        (["\u2212m"], "begins with a dash that is longer"),
        (["--hlep"], "--hlep: there is no such flag (did you mean '--help'?)"),
        (["--seed=3"], "A key is set without dashes: seed=3."),
        (["--batch-size=4"], "A key is set without dashes: batch_size=4."),
        (["--block=modern"], "A key is set without dashes: block=modern."),
        (["--max-steps", "3"], "A key is set without dashes: trainer.max_steps=VALUE."),
        (["-x"], "-x: there is no such flag."),
        (["--cfg"], "Argument --cfg/-c: expected one argument."),
        (["--cfg", "jobs"], "Argument --cfg/-c: invalid choice: 'jobs'"),
        (["seed=1", "-m", "--cfg", "job"], "--cfg shows one config and -m is for several"),
        (["--resolve"], "--resolve goes with --cfg job."),
        (["name=\udcff"], "not in UTF-8"),
        (["name=a ${b}"], "the folder of a run cannot have '${' in its name"),
        (["resume=out/${b}"], "the folder of a run cannot have '${' in its name"),
        (["name=???"], "how a config says that a value is still missing"),
        (["seed=1,2"], "several values are a sweep, a run for each, which needs -m"),
        (["optimizer.learning_rate=0,001"], "A number has a point: 0.5, not 0,5."),
        (["model.dim=geomspace(0,1,3)"], "takes two numbers above 0 and how many"),
    ],
)
def test_what_is_malformed_is_said(arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_arguments(arguments, TRAIN, {})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["seed=1", "-m", "seed=2,3"], ["-m", "seed=1", "seed=2,3"]),
        (["name=x", "--cfg", "job", "seed=1"], ["--cfg=job", "name=x", "seed=1"]),
        (["name=x", "-c", "job"], ["--cfg=job", "name=x"]),
        (["name=a b", "--config-dir=my conf", "--", "seed=1"], ["--config-dir=my conf", "name=a b", "seed=1"]),
        (["--info", "defaults", "seed=1"], ["--info=defaults", "seed=1"]),
        (["--info"], ["--info"]),
        (["--multi", "seed=1,2"], ["--multirun", "seed=1,2"]),
        (["~logger", "++name=x", "+experiment=optimizers"], ["~logger", "++name=x", "+experiment=optimizers"]),
        (["model@model=dit_tiny", "hydra/launcher=joblib"], ["model@model=dit_tiny", "hydra/launcher=joblib"]),
    ],
)
def test_flags_may_stand_anywhere(typed: list[str], read: list[str]) -> None:
    assert read_arguments(typed, TRAIN, {}) == read


def test_a_key_may_have_another_name() -> None:
    assert read_arguments(["model=it's"], keys_of("evaluate"), {"model": "saved_model"}) == ["saved_model='it\\'s'"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("guidance=3", "guidance.scale=3"),
        ("guidance=-.5", "guidance.scale=-.5"),
        ("guidance=null", "guidance.scale=null"),
        ("guidance=checkpoint", "guidance=checkpoint"),
        ("guidance=nullify", "guidance=nullify"),
        ("guidance.interval=[0.2,0.8]", "guidance.interval=[0.2,0.8]"),
    ],
)
def test_a_number_may_stand_where_a_group_is_chosen(typed: str, read: str) -> None:
    assert read_arguments([typed], keys_of("sample"), SAVED_MODEL) == [read]
    assert read_arguments(["-m", "guidance=1,4"], keys_of("sample"), SAVED_MODEL) == ["-m", "guidance.scale=1,4"]


def test_a_config_folder_is_found_under_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert read_arguments(["--config-dir=~/conf"], TRAIN, {}) == ["--config-dir=/home/somebody/conf"]


@pytest.mark.parametrize("name", ["it's here", "$now {1} [2]", "ünï (v2)", 'a "b"', "x=y, z", "-x", "~", "back\\slash"])
@pytest.mark.parametrize("how", ["resume", "repeat"])
def test_a_run_in_any_folder_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    run = tmp_path / name
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("trainer: {max_steps: 1}")
    monkeypatch.chdir(tmp_path)
    relative = read_arguments([set_to(how, name, TRAIN), "--config-dir=mine"], TRAIN, {})
    for read in (relative, read_arguments([f"{how}={run}"], TRAIN, {})):
        arguments = for_hydra(read)
        assert arguments[:2] == [f"--config-dir={run}/.hydra", "--config-name=config"]
        assert "--config-dir=mine" not in arguments
        if how == "resume":
            assert value_of(arguments, "hydra.run.dir") == os.fspath(run)


def test_a_sweep_that_does_a_run_again_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    typed = ["-m", "repeat=run", "seed=1,2"]
    once = for_hydra(read_arguments(typed, TRAIN, {}))
    assert value_of(once, "resume") is None
    sweep = tmp_path / "outputs" / "swept" / "now"
    sweep.mkdir(parents=True)
    task = [argument for argument in once if not argument.startswith("-")]
    (sweep / "multirun.yaml").write_text(yaml.dump({"hydra": {"overrides": {"task": task}}}))
    again = for_hydra(read_arguments([*typed, "sweep.resume=true"], TRAIN, {}))
    assert (value_of(again, "resume"), value_of(again, "hydra.sweep.dir")) == ("auto", str(sweep))
    assert not capsys.readouterr().err
    another = for_hydra(read_arguments(["-m", "repeat=run", "seed=1,2,3", "sweep.resume=true"], TRAIN, {}))
    assert value_of(another, "resume") is None
    assert "sweep.resume=true: no sweep of this very command was begun here: all anew." in capsys.readouterr().err


def test_a_plan_of_a_run_done_again_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    arguments = for_hydra(read_arguments(["repeat=run"], TRAIN, {}), "plan")
    assert value_of(arguments, "hydra.run.dir") == "."
    assert value_of(arguments, "hydra.output_subdir") is None
    assert value_of(arguments, "hydra.job.name") == "plan"


def begun(run: Path, steps: int = 0) -> Path:
    """What there is of a run before its config is composed."""
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("trainer: {max_steps: 1}\nseed: 0")
    (run / ".hydra" / "overrides.yaml").write_text("[]")
    if steps:
        (run / "checkpoints" / f"step-{steps:08d}").mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["resume=out/a/run/checkpoints"], "It is part of a run: resume={here}/out/a/run"),
        (["resume=out/a/run/model/"], "It is part of a run: resume={here}/out/a/run"),
        (["repeat=out/a/run/.hydra/config.yaml"], "It is part of a run: repeat={here}/out/a/run"),
        (["resume=out"], "Below it there is: resume={here}/out/a/run"),
        (["repeat=out/a"], "Below it there is: repeat={here}/out/a/run"),
        (["resume=elsewhere"], "Give the folder that training named when it started"),
        (["repeat=out/a/run/checkpoints/step-00000009"], "there is no such checkpoint. Its run has: step-00000004."),
        (["resume=out/a/run/checkpoints/step-00000009"], "there is no such checkpoint. Its run has: step-00000004."),
        (["repeat=out/a/run/checkpoints/step-0000004"], "there is no such checkpoint. Its run has: step-00000004."),
        (["repeat=out/a/run/checkpoints/nonsense"], "there is no such checkpoint. Its run has: step-00000004."),
        (["resume=out/a/run/checkpoints/step-00000004"], "In a new folder: repeat=out/a/run/checkpoints/step-00000004"),
        (["repeat=auto"], "repeat=auto: which run is to be done again?"),
        (["-m", "repeat=auto", "seed=1,2"], "repeat=auto: which run is to be done again?"),
        (["resume=out/a/run", "hydra.run.dir=out/b"], "hydra.run.dir=out/b: a run that is resumed goes on in its own"),
        (["resume=out/a/run", "output_dir=out/b"], "output_dir=out/b: a run that is resumed goes on in its own"),
        (["resume=out/a/run", "++max_steps=3"], "+max_steps: nothing reads this key"),
    ],
)
def test_what_is_no_run_to_go_on_with_is_said_with_what_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    begun(tmp_path / "out" / "a" / "run", steps=4)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        for_hydra(read_arguments(arguments, TRAIN, {}))
    assert expected.format(here=tmp_path).lower() in str(caught.value).lower()


def test_a_resumed_run_may_name_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert value_of(for_hydra(["resume=run", "hydra.run.dir=./run"]), "hydra.run.dir") == "./run"
    assert value_of(for_hydra(["resume=run", "++optimizer.nesterov=true"]), "hydra.run.dir") == str(run)
