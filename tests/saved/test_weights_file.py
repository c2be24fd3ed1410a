from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aaa.errors import UserError
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.saved.checkpoint import load_weights, save_weights
from aaa.saved.models import find_saved
from aaa.saved.weights_file import DiTNumbers, read_dit_numbers
from tests.helpers.designs import SWITCHES, inputs, small
from tests.helpers.reference import ReferenceDiT
from tests.helpers.weights_metadata import model_header


@pytest.mark.parametrize(("prefix", "dtype"), [("", torch.float32), ("pipe.dit.", torch.bfloat16)])
def test_the_tutorials_checkpoint_becomes_our_model_and_goes_back(
    tmp_path: Path, prefix: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    reference = ReferenceDiT().to(dtype)
    path = tmp_path / "step-600000.safetensors"
    save_file({prefix + name: tensor for name, tensor in reference.state_dict().items()}, path)
    numbers = read_dit_numbers(path)
    assert numbers == DiTNumbers(1024, 10, 32, 128, 1024, 3.0, 16)
    saved = find_saved(path, "ema", trust_config=False)
    assert saved.config["encoder"]["text_encoder"]["max_length"] == 128
    assert saved.config["scheduler"]["_target_"].endswith("Flux2Scheduler")
    model = build_dit(**saved.config["model"], init="torch").to(dtype)
    load_weights(path, model)
    back = tmp_path / "ours.safetensors"
    save_weights(back, model, {})
    again = ReferenceDiT().to(dtype)
    load_weights(back, again)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, reference.state_dict()[name])


def test_diffsynth_loads_our_weights_into_the_tutorials_class(tmp_path: Path) -> None:
    from diffsynth import load_model

    torch.manual_seed(0)
    model = build_dit(1024, 10, 32, in_channels=128, text_dim=1024)
    save_weights(tmp_path / "model.safetensors", model, {"step": "1"})
    loaded = load_model(ReferenceDiT, str(tmp_path / "model.safetensors"), torch_dtype=torch.float32, device="cpu")
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_diffsynth_loads_any_design_of_ours(tmp_path: Path) -> None:
    from diffsynth import load_model

    path = tmp_path / "model.safetensors"
    numbers = DiTNumbers(16, 3, 2, 4, 8, 3.0, 4, **SWITCHES["many"])
    save_weights(path, small(**SWITCHES["many"]), {"model": model_header(numbers)})
    config = asdict(read_dit_numbers(path))
    loaded = load_model(AAADiT, str(path), config=config, torch_dtype=torch.float32, device="cpu")
    assert torch.equal(loaded(*inputs()), small(**SWITCHES["many"])(*inputs()))


def test_sizes_are_read_off_shapes_and_heads_off_the_header(tmp_path: Path) -> None:
    model = build_dit(64, 3, 4, in_channels=12, text_dim=16, mlp_ratio=2.5, position_grid=8)
    save_weights(tmp_path / "a.safetensors", model, {})
    with pytest.raises(UserError, match=r"how many attention heads its width of 64 is shared by. Say it with heads=N"):
        read_dit_numbers(tmp_path / "a.safetensors")
    expected = DiTNumbers(64, 3, 4, 12, 16, 2.5, 8)
    assert read_dit_numbers(tmp_path / "a.safetensors", heads=4) == expected
    save_weights(tmp_path / "b.safetensors", model, {"model": model_header(expected)})
    assert read_dit_numbers(tmp_path / "b.safetensors") == expected


def test_other_files_are_named(tmp_path: Path) -> None:
    save_file({"vae.weight": torch.zeros(2)}, tmp_path / "vae.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="not the weights of a DiT"):
        read_dit_numbers(tmp_path / "vae.safetensors")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        read_dit_numbers(tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match="can run code"):
        find_saved(tmp_path / "pickle.pth", "ema", trust_config=False)
