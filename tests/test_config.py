"""Every key of the schemas is read by something: a key that nothing reads would be a lie."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from aaa.config import CONF, PACKAGE, group_options
from aaa.schema import SCHEMAS, DataConfig, EncoderConfig, EvaluateConfig, ModelConfig, TrainConfig

CODE = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "config.py")
YAML = "\n".join(path.read_text() for path in CONF.rglob("*.yaml"))


@pytest.mark.parametrize(("schema", "key"), [(schema, f.name) for schema in SCHEMAS.values() for f in fields(schema)])
def test_every_key_of_a_schema_is_read(schema: type, key: str) -> None:
    if schema is ModelConfig and key not in ("name", "architecture"):
        from aaa.models.factory import build_dit

        assert key in inspect.signature(build_dit).parameters
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
        "data",
        "encoder",
        "text_encoder",
        "scheduler",
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
    assert set(group_options()) - {"text_encoder", "experiment"} <= keys
    assert "text_encoder" in {f.name for f in fields(EncoderConfig)}


def test_conf_lies_beside_or_inside_the_package() -> None:
    assert Path(PACKAGE, "conf") == CONF or PACKAGE.parent / "conf" == CONF
