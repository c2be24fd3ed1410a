import logging
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from aaa.errors import UserError
from aaa.models.forward import ModelOutput
from aaa.run.folder import recorded_precision
from aaa.training.precision import ModelPrecision, choose_precision, model_precision, multiplies_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(("quick", "chosen"), [(True, "bf16"), (False, "float32")])
def test_auto_is_bf16_only_where_the_device_multiplies_it(
    quick: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aaa.training.precision.multiplies_bf16", lambda _device: quick)
    assert choose_precision("auto", CPU) == chosen


def test_torch_without_onednn_as_on_a_mac_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)  # where nothing is registered any name is an AttributeError
    multiplies_bf16.cache_clear()
    try:
        assert choose_precision("auto", CPU) == "float32"
        assert choose_precision("auto", torch.device("mps")) == "float32"
    finally:
        multiplies_bf16.cache_clear()


def test_bf16_where_it_crawls_is_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aaa.training.precision.multiplies_bf16", lambda _device: False)
    with caplog.at_level(logging.WARNING):
        assert choose_precision("float32", CPU) == "float32"
        assert not caplog.text
        assert choose_precision("bf16", CPU) == "bf16"
    assert "trainer.precision=float32 (or auto) is quick here" in caplog.text


@pytest.mark.parametrize(
    ("trained", "asked", "on_quick", "on_slow"),
    [
        ("bf16", None, "bf16", "float32"),
        ("bf16_weights", None, "bf16_weights", "float32"),
        ("float32", None, "float32", "float32"),
        (None, None, "float32", "float32"),
        ("bf16", "float32", "float32", "float32"),
        ("float32", "bf16_weights", "bf16_weights", "bf16_weights"),
        ("bf16_weights", "auto", "bf16", "float32"),
    ],
)
def test_a_trained_model_is_run_as_it_was_trained_where_that_is_quick(
    trained: str | None, asked: str | None, on_quick: str, on_slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for quick, expected in ((True, on_quick), (False, on_slow)):
        monkeypatch.setattr("aaa.training.precision.multiplies_bf16", lambda _device, quick=quick: quick)
        assert model_precision(trained, CPU, asked) == ModelPrecision(expected, CPU)
    with pytest.raises(UserError, match=r"^precision=half: must be one of auto, float32, bf16, bf16_weights"):
        model_precision(trained, CPU, "half")


@pytest.mark.parametrize(
    ("name", "weights", "computed"),
    [
        ("float32", torch.float32, torch.float32),
        ("bf16", torch.float32, torch.bfloat16),
        ("bf16_weights", torch.bfloat16, torch.bfloat16),
    ],
)
def test_a_model_is_run_in_its_precision(name: str, weights: torch.dtype, computed: torch.dtype) -> None:
    run_in = ModelPrecision(name, CPU)
    layer = torch.nn.Linear(4, 4).to(dtype=run_in.dtype)
    assert layer.weight.dtype == weights
    seen = []
    layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    inputs = torch.ones(1, 4)  # float32 always, as samplers keep latents
    assert run_in.running(layer)(inputs).dtype == computed
    assert seen == [computed]
    # What wraps a model, as accelerate does in training, makes no difference to what is drawn.
    wrapped = run_in.running(lambda x: layer(x).float())  # in the dtype that it is given
    assert torch.equal(wrapped(inputs), run_in.running(layer)(inputs))
    assert wrapped(inputs).dtype == computed
    more = run_in.running(lambda x: ModelOutput(layer(x).float(), {1: x}, layer(x).float()))(inputs)
    assert (more.prediction.dtype, more.internal.dtype, more.hidden[1].dtype) == (computed, computed, weights)
    assert not torch.is_autocast_enabled("cpu")


def test_an_unknown_precision_names_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"trainer\.precision=fp8: must be one of auto, float32, bf16, bf16_weights"):
        choose_precision("fp8", CPU)


def test_what_the_hardware_can_is_the_same_at_every_question() -> None:
    assert multiplies_bf16(CPU) == multiplies_bf16(torch.device("cpu"))


def test_a_resumed_run_keeps_the_precision_that_auto_was(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("trainer:\n  precision: bf16\n")
    new = {"resume": None, "repeat": None, "output_dir": str(tmp_path / "new"), "trainer": {"precision": "auto"}}
    for key in ("resume", "repeat"):
        assert recorded_precision(OmegaConf.create(new | {key: str(tmp_path)})) == "bf16"
    checkpoint = tmp_path / "checkpoints" / "step-00000006"
    checkpoint.mkdir(parents=True)
    assert recorded_precision(OmegaConf.create(new | {"repeat": str(checkpoint)})) == "bf16"
    assert recorded_precision(OmegaConf.create(new)) is None
    assert recorded_precision(OmegaConf.create(new | {"resume": "auto", "output_dir": str(tmp_path)})) == "bf16"
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.yaml").write_text("trainer:\n  precision: float32\n")
    left = new | {"output_dir": str(own)}
    assert recorded_precision(OmegaConf.create(left)) is None, "what another run has left there is not this one's"
    for resume, found in (("auto", "float32"), (None, "bf16")):
        again = left | {"resume": resume, "repeat": str(tmp_path)}
        assert recorded_precision(OmegaConf.create(again)) == found
    chosen = new | {"resume": str(tmp_path), "trainer": {"precision": "float32"}}
    assert recorded_precision(OmegaConf.create(chosen)) is None
