"""Every key of the schemas is read by something: a key that nothing reads would be a lie."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from aaa.cli.errors import explain
from aaa.config.checks import check_config
from aaa.config.command_schema import EvaluateConfig
from aaa.config.groups import CONF, PACKAGE, group_options
from aaa.config.overrides import quoted, without_interpolations
from aaa.config.schema import SCHEMAS, DataConfig, EncoderConfig, ModelConfig, TrainConfig
from aaa.errors import UserError
from aaa.models.design import Design
from tests.helpers.composed import checked, compose

CODE = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "config.py")
YAML = "\n".join(path.read_text() for path in CONF.rglob("*.yaml"))


@pytest.mark.parametrize(("schema", "key"), [(schema, f.name) for schema in SCHEMAS.values() for f in fields(schema)])
def test_every_key_of_a_schema_is_read(schema: type, key: str) -> None:
    if schema is ModelConfig and key not in ("name", "architecture", "parametrization") and "base_" not in key:
        from aaa.models.factory import build_dit

        assert key in {*inspect.signature(build_dit).parameters, *(f.name for f in fields(Design))}
        return
    in_code = re.search(rf"\b(config|data|encoder|trainer|sampling|validation|model)\.{key}\b", CODE)
    in_yaml = (
        re.search(rf"\$\{{(data|encoder)\.{key}\}}", YAML) if issubclass(schema, DataConfig | EncoderConfig) else None
    )
    built_by_name = (
        issubclass(schema, TrainConfig | EvaluateConfig) and f'"{key}"' in CODE
    )  # build(config, "scheduler")
    assert in_code or in_yaml or built_by_name


def test_every_group_and_option_says_what_it_is_for() -> None:
    groups = group_options()
    assert {
        "model",
        "block",
        "routing",
        "data",
        "encoder",
        "text_encoder",
        "scheduler",
        "objective",
        "sampler",
        "guidance",
        "optimizer",
        "lr_scheduler",
        "trainer",
        "logger",
        "evaluation",
        "experiment",
        "sweep",
    } == set(groups)
    for path in CONF.rglob("*.yaml"):
        assert path.read_text().startswith("# "), path


def test_every_group_is_a_key_of_the_run() -> None:
    keys = {f.name for f in fields(TrainConfig)}
    # text_encoder fills half of `encoder`, an experiment overrides any of them.
    assert set(group_options()) - {"text_encoder", "experiment", "block"} <= keys
    assert "text_encoder" in {f.name for f in fields(EncoderConfig)}


def composed(*overrides: str) -> DictConfig:
    return compose(*overrides, "output_dir=x")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=18446744073709551616", "seed=18446744073709551616: must be at least 0 and below 2^62."),
        ("sampling.guidance=1e38", "sampling.guidance=1e+38: must be at least 0 and at most 1000."),
        ("sampling.steps=1000000000", "sampling.steps=1000000000: must be at least 1 and at most 10000."),
        ("sampling.seed=-1", "sampling.seed=-1: must be at least 0 and at most"),
        ("name='a\nb'", r"name='a\nb': has letters that are not shown"),
        ("name='\u202egnp'", r"name='\u202egnp': has letters that are not shown"),
        ("+model.dimm=1", r"+model.dimm: nothing reads this key (did you mean 'dim'?)"),
    ],
)
def test_numbers_and_names_that_no_run_can_have(override: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        check_config(composed(override))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", "abc", "seed=abc: must be a whole number"),
        ("seed", 1.5, "seed=1.5: must be a whole number"),
        ("trust_config", "perhaps", "trust_config=perhaps: must be true or false"),
        ("seed", "3", None),
    ],
)
def test_a_config_that_was_read_from_a_file_has_types_too(key: str, value: object, expected: str | None) -> None:
    read = OmegaConf.create(OmegaConf.to_container(composed()))
    assert isinstance(read, DictConfig)
    read[key] = value
    if expected is None:
        check_config(read)
        assert read[key] == 3
        return
    with pytest.raises(UserError) as caught:
        check_config(read)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.parametrization=up"], "model.parametrization=up: must be one of standard, mup."),
        (["model.parametrization=mup", "model.base_depth=0"], "model.base_depth=0: must be at least 1"),
        (["model.parametrization=mup", "model.init=torch"], "initial values of its own, model.init=torch others."),
        (["model.parametrization=mup", "budget.parameters=1e6"], "budget.parameters changes their width."),
        (["model.parametrization=mup", "model.dim=256"], "model.heads=8: with model.parametrization=mup heads are as"),
        (["model.parametrization=mup", "model.dim=256"], "That makes 16 at model.dim=256."),
        (
            ["model.parametrization=mup", "optimizer=soap"],
            "soap: model.parametrization=mup has rules for AdamW and Muon.",
        ),
        (["trainer.base_batch_size=32", "trainer.batch_size=auto"], "trainer.base_batch_size=32: the learning rate"),
        (["trainer.ema_memory=0.08"], "trainer.ema_memory=0.08 and trainer.ema_decay=0.995 both say how long"),
        (["trainer.ema_memory=0.6", "trainer.ema_decay=null"], "trainer.ema_memory=0.6: must be a share of the run,"),
        (["trainer.ema_memory=9", "trainer.ema_decay=null"], "at least trainer.batch_size=32, one step."),
        (["trainer.ema_memory=0", "trainer.ema_decay=null"], "trainer.ema_memory=0.0: must be above 0."),
        (
            ["trainer.ema_memory=5000", "trainer.ema_decay=null", "trainer.batch_size=auto"],
            "trainer.ema_memory=5000: samples are steps only where trainer.batch_size is a number, not auto.",
        ),
    ],
)
def test_what_does_not_go_with_rules_for_a_models_size(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        check_config(composed(*overrides))
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["ünï (v2)", "a=b, c", " x ", "it's", "[red]", "a/b", "क\u200cक"])
def test_a_run_may_have_any_name_that_a_folder_can_have(name: str) -> None:
    check_config(composed(f"name={quoted(name)}"))


def test_a_mode_that_wandb_does_not_know_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    with pytest.raises(UserError, match=r"WANDB_MODE=nonsense: W&B knows no such mode. There is: online, offline"):
        check_config(composed())
    check_config(composed("logger=none"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    check_config(composed())


def test_groups_of_ones_own_folder_are_known(tmp_path: Path) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "contrastive.yaml").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").touch()
    options = group_options(CONF, tmp_path)
    assert options["objective"] == ["aligned", "clean", "clean_aligned", "contrastive", "velocity"]
    assert "mine" in options["model"]
    assert "dit_tiny" in options["model"]
    flags = [f"--config-dir={tmp_path}"]
    for override, expected in (
        ("+objective=contrastiv", "objective=contrastiv: no such option (did you mean 'contrastive'?)"),
        ("model=mien", "model=mien: no such option (did you mean 'mine'?)"),
    ):
        group, _, option = override.lstrip("+").partition("=")
        error = HydraException(f"Could not find '{group}/{option}'")
        assert explain(error, "train", [*flags, override]).startswith(expected)


def test_conf_lies_beside_or_inside_the_package() -> None:
    assert Path(PACKAGE, "conf") == CONF or PACKAGE.parent / "conf" == CONF


@pytest.mark.parametrize("text", ["pics ${x}", "${", "\\${x}", "a\\\\${data.name}", "plain"])
def test_what_is_built_gets_texts_as_they_are(text: str) -> None:
    from aaa.assembly.build import build

    literal = without_interpolations(text)
    inner = {"_target_": "builtins.dict", "root": "${data.root}", "all": [literal, [literal], {"deep": {"a": literal}}]}
    part = inner | {"parts": [inner], "part": inner, "n": "${data.n}"}
    config = OmegaConf.create({"data": {"name": "own", "root": literal, "n": 3}, "part": part})
    built = build(config, "part")
    assert built["n"] == 3
    for made in (built, built["part"], built["parts"][0]):
        found = made["root"], made["all"][0], made["all"][1][0], made["all"][2]["deep"]["a"]
        assert found == (text, text, text, text)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.mlp=gelu"], r"model\.mlp=gelu: must be one of silu, relu2, swiglu"),
        (["model.registers=-1"], r"model\.registers=-1: must be at least 0"),
        (["model.joint=mmdit", "model.depth=1"], r"model\.joint=mmdit: model\.depth=1"),
        (["model.positions=rope", "model.heads=64"], r"model\.positions=rope .* model\.heads=64"),
        (["block=modern", "model.block={_target_:x.Y}"], r"model\.positions=rope: the class that model\.block names"),
        (
            ["model.registers=1", "model.architecture={_target_:x.Y}"],
            r"model\.registers=1: .* model\.architecture",
        ),
        (["routing.rate=0.3"], r"routing\.rate=0\.3: routing\.kind=none"),
        (["routing=tread", "model.depth=2"], r"routing\.first_block=2 routing\.last_block=1: model\.depth=2"),
        (["routing=tread", "+model.block={_target_:x.Y}"], r"routing\.kind=tread: the class that model\.block"),
        (["routing=tread", "routing.first_block=1", "block=modern"], r"routing\.first_block=1: model\.value_residual"),
        (["routing=sprint", "routing.path_drop=null"], r"routing\.path_drop=null: routing\.kind=sprint needs a number"),
        (["routing=sprint", "model.depth=2"], r"routing\.first_block=2 routing\.last_block=1: model\.depth=2"),
        (["routing=tread", "routing.path_drop=0.1"], r"routing\.path_drop=0\.1: routing\.kind=tread"),
        (["guidance=internal"], r"guidance=internal: .*model\.internal_head=null.* objective\.terms\.internal\.weight"),
        (["guidance=routing"], r"guidance=routing: the model routes no tokens \(routing\.kind=none\)"),
        (["model.mask_padding=true", "text_encoder=qwen3"], r"model\.mask_padding=true: encoder\.text_encoder"),
        (["model.pooled_prompt=true", "text_encoder=qwen3"], r"model\.pooled_prompt=true: encoder\.text_encoder"),
        (["model.joint=crossed"], r"model\.joint=crossed: must be one of single, mmdit, cross"),
    ],
)
def test_an_architecture_that_there_is_not_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_config(composed(*overrides))


def test_a_preset_of_blocks_goes_with_any_model_and_switches_go_before_it() -> None:
    config = compose("block=modern", "model=dit_10m", "model.mlp=relu2")
    assert (config.model.name, config.model.positions, config.model.mlp) == ("dit_10m", "rope", "relu2")


@pytest.mark.parametrize(("said", "is_read_as"), [("true", None), ("null", None), ("false", False)])
def test_two_words_for_the_same_are_one_setting_where_runs_are_compared(said: str, is_read_as: bool | None) -> None:
    assert checked(f"encoder.cache_prompts={said}").encoder.cache_prompts is is_read_as
    resumed = DictConfig(OmegaConf.to_container(compose(f"encoder.cache_prompts={said}")))  # as read from a file
    check_config(resumed)
    assert resumed.encoder.cache_prompts is is_read_as
