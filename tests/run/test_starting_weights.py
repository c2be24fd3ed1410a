"""Weights that a run starts from: all of a model, or what of another fits."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.run.starting_weights import start_from, start_from_what_fits
from aaa.saved.checkpoint import save_weights
from aaa.saved.export import write_config
from aaa.saved.models import sampling_config
from aaa.saved.weights_file import DiTNumbers
from tests.helpers.composed import checked, compose
from tests.helpers.designs import inputs, small
from tests.helpers.pretrained import describe_diffusers_vae
from tests.helpers.weights_metadata import model_header

NUMBERS = DiTNumbers(16, 3, 2, 4, 8, 3.0, 4)


def saved(folder: Path, model: nn.Module, **numbers: Any) -> Path:
    path = folder / "weights.safetensors"
    save_weights(path, model, {"model": model_header(DiTNumbers(**asdict(NUMBERS) | numbers))})
    return path


def made(seed: int, init: str = "torch", **numbers: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_dit(**asdict(NUMBERS) | numbers, init=init)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def log_of(caplog: pytest.LogCaptureFixture, path: Path, model: nn.Module, **numbers: Any) -> str:
    caplog.clear()
    with caplog.at_level("INFO", "aaa"):
        start_from_what_fits(path, model, asdict(NUMBERS) | numbers)
    return caplog.text


@pytest.mark.parametrize(("modulation", "is_identity"), [("adaln", True), ("adaln_shared", False), ("gate", False)])
def test_a_deeper_model_has_the_blocks_of_before_and_its_own_after_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, modulation: str, is_identity: bool
) -> None:
    """Where each block makes its own gates, which start at 0, it predicts what the shallower one did."""
    before = made(0, modulation=modulation)
    path = saved(tmp_path, before, modulation=modulation)
    deeper = made(1, "scaled", depth=5, modulation=modulation)
    alone = tensors(deeper)
    said = log_of(caplog, path, deeper, depth=5, modulation=modulation)
    here, there = deeper.state_dict(), before.state_dict()
    for name, tensor in here.items():
        assert torch.equal(tensor, alone[name] if name.startswith(("blocks.3.", "blocks.4.")) else there[name]), name
    new = [name for name in here if name not in there]
    weights = sum(tensor.numel() for tensor in here.values())
    share = sum(there[name].numel() for name in there) / weights
    assert f"loaded {len(there)} of {len(here)} tensors ({100 * share:.3g}% of the weights)" in said
    assert f"; new, as the model itself starts: blocks.3, blocks.4 ({len(new)})" in said
    assert "left" not in said
    assert torch.allclose(before(*inputs()), deeper(*inputs()), atol=1e-6) == is_identity


def test_what_has_no_place_is_left_and_what_is_of_another_shape_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path, made(0, text_refiner=1), text_refiner=1)
    model = made(1, "scaled", qk_norm=True, depth=2, in_channels=6)
    alone = tensors(model)
    said = log_of(caplog, path, model, qk_norm=True, depth=2, in_channels=6)
    new = "image_embedder.0.weight, blocks.*.qk_norm, proj_out"
    assert re.search(rf"new, as the model itself starts: {re.escape(new)} \(7\)", said), said
    left = "blocks.2, image_embedder.0.weight, proj_out, text_refiner"
    assert re.search(rf"left, as it has no place: {re.escape(left)} \(\d+\)", said), said
    assert torch.equal(model.state_dict()["proj_out.weight"], alone["proj_out.weight"])


def test_of_two_streams_the_last_block_is_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path, made(0, joint="mmdit"), joint="mmdit")
    said = log_of(caplog, path, made(1, joint="mmdit", depth=4), joint="mmdit", depth=4)
    assert "new, as the model itself starts: blocks.2, blocks.3 (" in said
    assert "left, as it has no place: blocks.2 (" in said


def test_a_prompt_that_gave_tokens_gives_keys_and_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = made(0)
    path = saved(tmp_path, before)
    with pytest.raises(UserError, match=r"holds another model. To train that one: model\.joint=single"):
        start_from(path, made(1, joint="cross"), asdict(NUMBERS) | {"joint": "cross"}, {})
    model = made(1, "scaled", joint="cross", pooled_prompt=True)
    said = log_of(caplog, path, model, joint="cross", pooled_prompt=True)
    assert "new, as the model itself starts: blocks.*.text, pooled_prompt (16)" in said
    assert "left" not in said
    here = model.state_dict()
    assert all(torch.equal(here[name], tensor) for name, tensor in before.state_dict().items())
    again = made(2, joint="cross", pooled_prompt=True)
    numbers = {"joint": "cross", "pooled_prompt": True}
    start_from(saved(tmp_path, model, **numbers), again, asdict(NUMBERS) | numbers, {})
    assert torch.equal(again(*inputs()), model(*inputs()))


def test_heads_that_share_the_width_otherwise_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path, made(0))
    said = log_of(caplog, path, made(1, heads=4), heads=4)
    assert "trained with model.heads=2; with model.heads=4" in said
    assert "model.heads" not in log_of(caplog, path, made(1))


class Own(nn.Module):
    """A model of one's own, nothing of which a DiT has."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(3, 5)
        self.proj_out = nn.Linear(5, 4)


def test_where_nothing_fits_it_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, made(0))
    with pytest.raises(UserError, match=r"is 16 wide and this one 32.*To train one of its width: model.dim=16"):
        start_from_what_fits(path, made(1, dim=32), asdict(NUMBERS) | {"dim": 32})
    strange = Own()
    strange.proj_out = nn.Linear(16, 2, bias=False)
    with pytest.raises(UserError, match="no matrix has the same name and shape in both"):
        start_from_what_fits(path, strange, asdict(NUMBERS) | {"architecture": "own"})
    with pytest.raises(UserError, match=r"init_from=.*nowhere: there is no such folder"):
        start_from_what_fits(tmp_path / "nowhere", made(0), asdict(NUMBERS))


def refused(path: Path, **numbers: Any) -> str:
    with pytest.raises(UserError) as error:
        start_from(path, made(1, **numbers), asdict(NUMBERS) | numbers, {})
    return str(error.value)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"depth": 4}, "holds a model of another size. To train that one: model.depth=3. To start this one from what"),
        ({"heads": 4}, "holds a model of another size. To train that one: model.heads=2. To start this one from what"),
        ({"positions": "rope"}, "holds another model. To train that one: model.positions=learned. To start this one"),
        ({"internal_head": 2}, "holds another model. To train that one: objective.terms.internal.weight=0. To start"),
        ({"qk_norm": True, "depth": 2}, "holds another model. To train that one: model.qk_norm=false model.depth=3."),
    ],
)
def test_by_default_another_model_is_refused_by_its_keys(tmp_path: Path, numbers: dict[str, Any], said: str) -> None:
    told = refused(saved(tmp_path, made(0)), **numbers)
    assert said in told
    assert told.endswith("init_from_parts=fitting")


def test_what_cannot_fit_is_not_offered(tmp_path: Path) -> None:
    assert refused(saved(tmp_path, made(0)), dim=32).endswith("To train that one: model.dim=16")


def test_own_blocks_of_another_kind_are_named_with_the_key_that_takes_the_rest(tmp_path: Path) -> None:
    path = saved(tmp_path, made(0))
    with pytest.raises(UserError, match=r"blocks.3.*: not in the file(.|\n)*fits of it: init_from_parts=fitting"):
        start_from(path, small(depth=4), asdict(NUMBERS) | {"block": {"_target_": "own.Block"}}, {})


def encoder_of(*overrides: str) -> Mapping[str, Any]:
    return compose(*overrides).encoder


@pytest.mark.parametrize(
    ("trained", "now", "asked"),
    [
        ([], ["encoder=pixel"], "encoder=patches"),
        (["encoder=pixel", "encoder.downscale_factor=16"], ["encoder=pixel"], "encoder.downscale_factor=16"),
        (["text_encoder=minilm"], [], "text_encoder=minilm"),
        (["encoder.prompt_dim=96"], [], "encoder.prompt_dim=96"),
        (["encoder=flux2_qwen3"], [], "encoder=flux2_qwen3 text_encoder=qwen3"),
    ],
)
def test_another_encoder_is_named_and_not_what_follows_from_it(
    tmp_path: Path, trained: list[str], now: list[str], asked: str
) -> None:
    assert asked_for(tmp_path / "model", compose(*trained, "output_dir=x"), now) == asked


def asked_for(folder: Path, config: DictConfig, now: list[str]) -> str:
    """What is to be typed, beside what there is now, to start from a model that was trained with this config."""
    encoders = config.encoder, encoder_of(*now)
    there, here = ({"in_channels": e["latent_channels"], "text_dim": e["prompt_dim"]} for e in encoders)
    folder.mkdir()
    header = {"model": model_header(DiTNumbers(**asdict(NUMBERS) | there))}
    save_weights(folder / "model.safetensors", made(0, **there), header)
    written: Any = OmegaConf.to_container(config, resolve=False)
    written["encoder"] = OmegaConf.to_container(config.encoder, resolve=True)
    write_config(folder, sampling_config(written))
    with pytest.raises(UserError) as error:
        start_from(folder, made(1, **here), asdict(NUMBERS) | here, encoder_of(*now))
    told = re.search(r"holds another model\. To train that one: (.*)\. To start this one", str(error.value))
    assert told is not None, error.value
    return told[1]


def test_a_vae_that_is_loaded_is_named_by_where_it_lies_and_its_patches(tmp_path: Path) -> None:
    other = describe_diffusers_vae(tmp_path / "sd3", latent_channels=16)
    trained = ["encoder=diffusers", f"encoder.vae.path={other}"]
    config = compose(*trained, "encoder.vae.patch_size=2", "output_dir=x")
    asked = f"{' '.join(trained)} encoder.vae.patch_size=2"
    assert asked_for(tmp_path / "a", config, ["encoder=pixel"]) == asked
    assert asked_for(tmp_path / "b", config, trained) == "encoder.vae.patch_size=2"


def test_what_fits_is_asked_of_some_weights() -> None:
    with pytest.raises(UserError, match=r"init_from_parts=fitting: of which weights\? init_from=PATH names them"):
        checked("init_from_parts=fitting")
